"""Localities within a priority: shares by their weights, or the proxy's own zone first.

Weighted: a locality gets its weight, less when too few of its hosts are available. Zone aware: as
much as fits stays in the zone of this proxy, where "fits" compares the share of this zone in the
upstream cluster with its share in the cluster that the proxies themselves form (the local cluster).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from proxy.config.model.balancing import LocalityLb
from proxy.upstream.balance.edf import schedule
from proxy.upstream.balance.host_set import HostSet, LocalityHosts
from proxy.upstream.balance.priority import Part, in_panic
from proxy.upstream.host import Host

_WHOLE = 10_000
Chosen = Callable[[], Sequence[Host] | int]
Count = Callable[[str], None]


def hosts_of(one: HostSet | LocalityHosts, part: Part) -> list[Host]:
    if part == "all":
        return one.hosts
    return one.healthy if part == "healthy" else one.degraded


def weighted_locality(one: HostSet, part: Part, random: Random) -> Callable[[], int] | None:
    """Gives the index of a locality, by effective weight; None where no locality has any."""
    weights = [_effective_weight(zone, part, one.overprovisioning) for zone in one.localities]
    eligible = [at for at, weight in enumerate(weights) if weight > 0]
    if not eligible:
        return None
    return schedule(eligible, lambda at: weights[at], random)


def _effective_weight(zone: LocalityHosts, part: Part, overprovisioning: int) -> float:
    counted = len(zone.hosts) - zone.excluded
    if counted <= 0:
        return 0.0
    available = len(hosts_of(zone, part)) / counted
    return zone.weight * min(1.0, overprovisioning / 100 * available)


# --------------------------------------------------------------------------- zone aware


@dataclass(slots=True)
class ZoneRouting:
    """How one cluster's first priority is spread. direct: all of it stays in the zone.

    local_share: of 10,000; residual: what other localities can take, accumulated."""

    direct: bool
    local_share: int = 0
    residual: list[int] = field(default_factory=list)

    def choose(self, random: Random, count: Count) -> int:
        """The index of a locality; 0 is our own. count: adds one to a statistic of that name."""
        if self.direct:
            count("lb_zone_routing_all_directly")
            return 0
        if random.random() * _WHOLE < self.local_share:
            count("lb_zone_routing_sampled")
            return 0
        count("lb_zone_routing_cross_zone")
        total = self.residual[-1]
        if not total:  # rounding
            count("lb_zone_no_capacity_left")
            return random.randrange(len(self.residual))
        threshold = int(random.random() * total)
        return next(at for at, edge in enumerate(self.residual) if threshold < edge)


def zone_routing(
    one: HostSet, local: HostSet, config: LocalityLb, count: Count
) -> ZoneRouting | None:
    """None: no routing by zone. local: the first priority of the local cluster."""
    count("lb_recalculate_zone_structures")
    if not _applies(one, local, config, count):
        return None
    ours, theirs = _percentages(local, one, config.by_weight)
    if one.has_local and (config.force_direct or 0 < theirs[0] >= ours[0]):
        return ZoneRouting(direct=True)
    share = theirs[0] * _WHOLE // ours[0] if one.has_local and ours[0] else 0
    spare = [
        0 if one.has_local and not at else max(0, theirs[at] - ours[at])
        for at in range(len(theirs))
    ]
    return ZoneRouting(False, share, list(accumulate(spare)))


def _applies(one: HostSet, local: HostSet, config: LocalityLb, count: Count) -> bool:
    if len(one.localities) < 2 or (len(local.localities) < 2 and not config.force_direct):
        return False
    if not local.has_local or not local.localities[0].hosts:
        count("lb_local_cluster_not_ok")
        return False
    if len(one.healthy) < config.min_cluster_size:
        count("lb_zone_cluster_too_small")
        return False
    return True


def _percentages(local: HostSet, one: HostSet, by_weight: bool) -> tuple[list[int], list[int]]:
    """Of each upstream locality: the share of this zone in the local cluster, and in the upstream
    cluster, of 10,000. Healthy hosts only."""

    def size(zone: LocalityHosts) -> int:
        return sum(host.weight for host in zone.healthy) if by_weight else len(zone.healthy)

    counts = {zone.zone: size(zone) for zone in local.localities}
    total_local = sum(counts.values())
    total = sum(size(zone) for zone in one.localities)
    ours, theirs = [], []
    for zone in one.localities:
        there = size(zone)
        here = counts.get(zone.zone, 0) if there else 0
        ours.append(_WHOLE * here // total_local if total_local else 0)
        theirs.append(_WHOLE * there // total if total else 0)
    return ours, theirs


def local_panics(local: HostSet, threshold: float) -> bool:
    """The proxies themselves are in panic: nobody believes in their zones."""
    return in_panic(local, threshold)
