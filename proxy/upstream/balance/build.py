"""From a policy and the hosts of a cluster to what picks one: a `Balancer`.

Built anew whenever membership or health changes. What needs nothing of the request is one closure;
what does (consistent hashing, subsets) has `pick_for`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from proxy.config.model.balancing import (
    HostLb,
    MaglevLb,
    RingHashLb,
)
from proxy.upstream.balance import locality
from proxy.upstream.balance.bounded_load import bounded
from proxy.upstream.balance.context import ContextPicker, PickContext, Picker, hash_of
from proxy.upstream.balance.hashing import HashPicker, NormalizedWeights, normalized_weights
from proxy.upstream.balance.host_set import HostSet
from proxy.upstream.balance.maglev import table, table_picker
from proxy.upstream.balance.policies import SimpleLb, picker
from proxy.upstream.balance.priority import Levels, Part, levels
from proxy.upstream.balance.ring_hash import ring, ring_picker
from proxy.upstream.host import Host

_HANDED_ON = 8
FillLater = Callable[[MaglevLb, NormalizedWeights, Callable[[list[Host]], None]], None]
"""Fills a table in slices, and hands it over when it is full."""
Table = tuple[HashPicker, Mapping[Host, int]]
"""A table's picker, and how many places each host has."""


class Tables:
    """Tables of consistent hashing: those that the last build used are not made again."""

    __slots__ = ("_before", "_filling", "_now", "fill_later")

    def __init__(self) -> None:
        self._before: dict[Hashable, Table] = {}
        self._now: dict[Hashable, Table] = {}
        self._filling: set[Hashable] = set()
        self.fill_later: FillLater | None = None

    def begin(self) -> None:
        """A new build: what it does not use is forgotten at the next one."""
        self._before, self._now = self._now, {}

    def get(self, key: Hashable, make: Callable[[], Table]) -> Table:
        found = self._now.get(key) or self._before.get(key) or make()
        self._now[key] = found
        return found

    def get_maglev(self, lb: MaglevLb, weights: NormalizedWeights, priority: int) -> Table:
        """A large table takes too long to be filled at once: while it is, the one before serves,
        as far as its hosts are still there."""
        key, place = (lb, tuple(weights)), (lb, priority)
        ready = self._now.get(key) or self._before.get(key)
        stale = self._before.get(place)
        if ready is not None or stale is None or self.fill_later is None or not weights:
            found = self.get(key, lambda: _made_table(lb, weights))
            if weights:
                self._now[place] = found
            return found
        self._now[place] = stale
        if key not in self._filling:
            self._filling.add(key)
            self.fill_later(lb, weights, partial(self._filled, key, weights))
        return _still_there(stale[0], weights), stale[1]

    def _filled(self, key: Hashable, weights: NormalizedWeights, places: list[Host]) -> None:
        self._filling.discard(key)
        self._now[key] = _table_of(places, weights)


@dataclass(slots=True)
class Surroundings:
    """What a policy knows beside the hosts. count, gauge: statistics of the cluster by name.

    in_flight: requests of the whole cluster now. local: first priority of the local cluster.
    tables: those of consistent hashing. in_subsets: hosts are those of one of many subsets."""

    random: Random
    now: Callable[[], float]
    count: Callable[[str, int], None]
    gauge: Callable[[str, int], None]
    in_flight: Callable[[], int]
    panic_threshold: float = 50.0
    local: HostSet | None = None
    in_subsets: bool = False
    tables: Tables = field(default_factory=Tables)


class Balancer:
    """pick: when nothing of the request is known. pick_for: None where nothing of it matters.

    besides: the same without some priorities (retries)."""

    __slots__ = ("_besides", "_build", "_of", "levels", "pick", "pick_for")

    def __init__(
        self,
        found: Levels,
        build: Callable[[Levels], tuple[Picker, ContextPicker | None]],
    ) -> None:
        self.levels = found
        self.pick, self.pick_for = build(found)
        self._build = build
        self._besides: dict[frozenset[int], ContextPicker] = {}
        self._of: dict[tuple[int, Part], ContextPicker] = {}

    def besides(self, tried: frozenset[int]) -> ContextPicker:
        made = self._besides.get(tried)
        if made is None:
            made = self._besides[tried] = self._made(self.levels.besides(tried))
        return made

    def of(self, priority: int, part: Part) -> ContextPicker:
        """The same at one priority only, whatever its load would be (aggregate clusters)."""
        made = self._of.get((priority, part))
        if made is None:
            one = Levels(((100, priority, part),), self.levels.health, self.levels.panics)
            made = self._of[(priority, part)] = self._made(one)
        return made

    def _made(self, found: Levels) -> ContextPicker:
        pick, pick_for = self._build(found)
        return pick_for or (lambda context, attempt=0: pick())


def balancer(lb: HostLb, sets: Sequence[HostSet], around: Surroundings) -> Balancer:
    found = levels(sets, around.panic_threshold)
    if isinstance(lb, RingHashLb | MaglevLb):
        return Balancer(found, lambda shares: _hashing(lb, sets, shares, around))
    zones = _zones(lb, sets, around)
    sources: dict[tuple[int, Part], Picker] = {}

    def source(priority: int, part: Part) -> Picker:
        key = (priority, part)
        if key not in sources:
            sources[key] = _source(lb, sets[priority], part, zones, around)
        return sources[key]

    return Balancer(found, lambda shares: (_by_share(shares, source, around.random), None))


def _by_share(found: Levels, source: Callable[[int, Part], Picker], random: Random) -> Picker:
    shares = found.shares
    if len(shares) == 1:
        return source(shares[0][1], shares[0][2])
    pickers = [(load, source(priority, part)) for load, priority, part in shares]

    def pick() -> Host | None:
        at = random.random() * 100
        chosen = pickers[0][1]
        for load, candidate in pickers:
            chosen = candidate
            at -= load
            if at < 0:
                break
        return chosen()

    return pick


# --------------------------------------------------------------------------- one priority


def _zones(
    lb: SimpleLb, sets: Sequence[HostSet], around: Surroundings
) -> locality.ZoneRouting | None:
    """Zone-aware routing is for the first priority, where there is a local cluster."""
    if around.local is None or lb.locality.weighted:
        return None
    config = lb.locality
    return locality.zone_routing(sets[0], around.local, config, lambda name: around.count(name, 1))


def _source(
    lb: SimpleLb,
    one: HostSet,
    part: Part,
    zones: locality.ZoneRouting | None,
    around: Surroundings,
) -> Picker:
    """Picks among the hosts of one priority that are healthy, degraded, or all in a panic."""

    def among(hosts: Sequence[Host]) -> Picker:
        return picker(lb, hosts, around.random, around.now)

    if part == "all":
        return _panicking(among(one.hosts), lb.locality.fail_traffic_on_panic, around)
    everybody = among(locality.hosts_of(one, part))
    by_zone: list[Picker] = []
    if lb.locality.weighted:
        choose = locality.weighted_locality(one, part, around.random)
        if choose is None:
            return everybody
        by_zone = [among(locality.hosts_of(zone, part)) for zone in one.localities]
        return lambda: by_zone[choose()]()
    if zones is None or one.priority:
        return everybody
    by_zone = [among(locality.hosts_of(zone, part)) for zone in one.localities]
    return _by_zone(zones, by_zone, everybody, lb, around)


def _panicking(everybody: Picker, fails: bool, around: Surroundings) -> Picker:
    def pick() -> Host | None:
        around.count("lb_healthy_panic", 1)
        return None if fails else everybody()

    return pick


def _by_zone(
    zones: locality.ZoneRouting,
    by_zone: Sequence[Picker],
    everybody: Picker,
    lb: SimpleLb,
    around: Surroundings,
) -> Picker:
    random, config = around.random, lb.locality
    assert around.local is not None
    panics = locality.local_panics(around.local, around.panic_threshold)

    def count(name: str) -> None:
        around.count(name, 1)

    def pick() -> Host | None:
        if random.random() * 100 >= config.routing_enabled:
            return everybody()
        if panics:
            count("lb_local_cluster_not_ok")
            return None if config.fail_traffic_on_panic else everybody()
        return by_zone[zones.choose(random, count)]()

    return pick


# --------------------------------------------------------------------------- consistent hashing


def _hashing(
    lb: RingHashLb | MaglevLb, sets: Sequence[HostSet], found: Levels, around: Surroundings
) -> tuple[Picker, ContextPicker]:
    used = {priority: part == "all" for _, priority, part in found.shares}
    tables = [_hash_picker(lb, one, used.get(one.priority, False), around) for one in sets]
    random = around.random

    def pick_for(context: PickContext | None, attempt: int = 0) -> Host | None:
        value = hash_of(context)
        if value is None:
            value = random.getrandbits(64)
        priority, _ = found.at(value % 100)
        if used[priority]:
            around.count("lb_healthy_panic", 1)
        return tables[priority](value, attempt)

    return (lambda: pick_for(None)), pick_for


def _hash_picker(
    lb: RingHashLb | MaglevLb, one: HostSet, panics: bool, around: Surroundings
) -> HashPicker:
    weights = normalized_weights(one, panics, lb.locality.weighted)
    key = (lb, tuple(weights))
    if isinstance(lb, MaglevLb) and not around.in_subsets:
        found, counts = around.tables.get_maglev(lb, weights, one.priority)
    else:
        found, counts = around.tables.get(key, lambda: _made_table(lb, weights))
    _tell(lb, counts, around)
    if lb.balance_factor and weights:
        return bounded(found, weights, lb.balance_factor, around.in_flight)
    return found


def _made_table(lb: RingHashLb | MaglevLb, weights: NormalizedWeights) -> Table:
    if isinstance(lb, RingHashLb):
        points, counts = ring(lb, weights)
        return ring_picker(points), counts
    return _table_of(table(lb, weights), weights)


def _table_of(places: list[Host], weights: NormalizedWeights) -> Table:
    counted = Counter(places)
    return table_picker(places), {host: counted[host] for host, _ in weights}


def _still_there(stale: HashPicker, weights: NormalizedWeights) -> HashPicker:
    """A table of hosts some of which may have gone, which then hand on."""
    living = {host for host, _ in weights}

    def pick(value: int, attempt: int) -> Host | None:
        for more in range(_HANDED_ON):
            host = stale(value, attempt + more)
            if host in living:
                return host
        return weights[value % len(weights)][0]

    return pick


def _tell(lb: RingHashLb | MaglevLb, counts: Mapping[Host, int], around: Surroundings) -> None:
    low, high = min(counts.values(), default=0), max(counts.values(), default=0)
    if isinstance(lb, RingHashLb):
        around.gauge("ring_hash_lb.size", sum(counts.values()))
        around.gauge("ring_hash_lb.min_hashes_per_host", low)
        around.gauge("ring_hash_lb.max_hashes_per_host", high)
    else:
        around.gauge("maglev_lb.min_entries_per_host", low)
        around.gauge("maglev_lb.max_entries_per_host", high)
