"""Subsets: only hosts whose metadata is what the route asks for, with Envoy's many ways back.

A subset exists for each combination of values that hosts have for a selector's keys; a route finds
it by exactly these keys. Where there is none, the selector's fallback decides, else the cluster's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from proxy.config.model.balancing import SubsetLb, SubsetSelector
from proxy.upstream.balance.build import Balancer, Surroundings, balancer
from proxy.upstream.balance.context import ContextPicker, PickContext, metadata_of
from proxy.upstream.balance.host_set import HostSet, LocalityHosts
from proxy.upstream.balance.priority import levels
from proxy.upstream.host import Host

Criteria = tuple[tuple[str, Hashable], ...]
"""Sorted by key; values are frozen with their types, as 1 and true are not the same."""
FALLBACK_LIST = "fallback_list"
METADATA = "envoy.lb"


class Subsets:
    """All subsets of one membership. `known` are those of the one before, for the statistics."""

    def __init__(
        self,
        lb: SubsetLb,
        sets: Sequence[HostSet],
        around: Surroundings,
        known: Iterable[Criteria] = (),
    ) -> None:
        self._lb = lb
        self._sets = sets
        self._around = around
        self._found: dict[Criteria, ContextPicker] = {}
        self._fallbacks = _fallbacks(lb.selectors)
        self._any = self._default = None
        uses = {lb.fallback, *(each.fallback for each in lb.selectors)}
        if "ANY_ENDPOINT" in uses or lb.panic_mode_any:
            self._any = self._picker(lambda host: True)
        if "DEFAULT_SUBSET" in uses:
            wanted = dict(lb.default_subset)
            self._default = self._picker(lambda host: _matches(host, wanted, lb.list_as_any))
        self._make()
        self._tell(frozenset(known))

    @property
    def known(self) -> frozenset[Criteria]:
        return frozenset(self._found)

    # ------------------------------------------------------------------ making them

    def _make(self) -> None:
        members: dict[Criteria, set[Host]] = {}
        single: dict[Criteria, Host] = {}
        duplicates = 0
        for one in self._sets:
            for host in one.hosts:
                for selector in self._lb.selectors:
                    for criteria in _combinations(host, selector.keys, self._lb.list_as_any):
                        if criteria in single or (selector.single_host and criteria not in members):
                            duplicates += criteria in single
                            single.setdefault(criteria, host)
                        else:
                            members.setdefault(criteria, set()).add(host)
        for criteria, hosts in members.items():
            self._found[criteria] = self._picker(hosts.__contains__)
        for criteria, host in single.items():
            self._found[criteria] = _only(host)
        if any(selector.single_host for selector in self._lb.selectors):
            self._around.gauge("lb_subsets_single_host_per_subset_duplicate", duplicates)

    def _picker(self, wanted: Callable[[Host], bool]) -> ContextPicker:
        sets = [one.filtered(wanted, self._weight) for one in self._sets]
        return as_context_picker(balancer(self._lb.child, sets, self._around))

    def _weight(self, zone: LocalityHosts, left: int) -> int:
        """Of a locality of which `left` hosts are in the subset."""
        if not self._lb.locality_weight_aware:
            return 0
        if not self._lb.scale_locality_weight:
            return zone.weight
        return round(zone.weight * left / len(zone.hosts)) if zone.hosts else 0

    def _tell(self, known: frozenset[Criteria]) -> None:
        now = self.known
        self._around.gauge("lb_subsets_active", len(now))
        self._around.count("lb_subsets_created", len(now - known))
        self._around.count("lb_subsets_removed", len(known - now))

    # ------------------------------------------------------------------ choosing

    def pick(self) -> Host | None:
        return self.pick_for(None)

    def pick_for(self, context: PickContext | None, attempt: int = 0) -> Host | None:
        wanted = metadata_of(context)
        if not self._lb.fallback_list or FALLBACK_LIST not in wanted:
            return self._choose(dict(wanted), context, attempt)
        base = {key: value for key, value in wanted.items() if key != FALLBACK_LIST}
        alternatives = wanted[FALLBACK_LIST] or [{}]
        for each in alternatives:
            host = self._choose({**base, **each}, context, attempt)
            if host is not None:
                return host
        return None

    def _choose(
        self, wanted: dict[str, Any], context: PickContext | None, attempt: int
    ) -> Host | None:
        if self._lb.allow_redundant_keys:
            wanted = self._without_redundant(wanted)
        if wanted:
            subset = self._found.get(frozen_criteria(wanted))
            if subset is not None:
                self._around.count("lb_subsets_selected", 1)
                return subset(context, attempt)
            selector = self._fallbacks.get(tuple(sorted(wanted)))
            if selector is not None and selector.fallback != "NOT_DEFINED":
                return self._by_selector(selector, wanted, context, attempt)
        return self._fall_back(context, attempt)

    def _without_redundant(self, wanted: dict[str, Any]) -> dict[str, Any]:
        for selector in self._lb.selectors:
            if all(key in wanted for key in selector.keys):
                return {key: wanted[key] for key in selector.keys}
        return wanted

    def _by_selector(
        self,
        selector: SubsetSelector,
        wanted: dict[str, Any],
        context: PickContext | None,
        attempt: int,
    ) -> Host | None:
        if selector.fallback == "ANY_ENDPOINT" and self._any is not None:
            return self._any(context, attempt)
        if selector.fallback == "DEFAULT_SUBSET" and self._default is not None:
            return self._default(context, attempt)
        if selector.fallback == "KEYS_SUBSET":
            fewer = {key: wanted[key] for key in selector.fallback_keys if key in wanted}
            return self._choose(fewer, context, attempt)
        return None

    def _fall_back(self, context: PickContext | None, attempt: int) -> Host | None:
        policies = {"ANY_ENDPOINT": self._any, "DEFAULT_SUBSET": self._default}
        fallback = policies.get(self._lb.fallback)
        if fallback is None:
            return None
        host = fallback(context, attempt)
        if host is not None:
            self._around.count("lb_subsets_fallback", 1)
        elif self._lb.panic_mode_any and self._any is not None:
            host = self._any(context, attempt)
            if host is not None:
                self._around.count("lb_subsets_fallback_panic", 1)
        return host


def subset_balancer(
    lb: SubsetLb, sets: Sequence[HostSet], around: Surroundings, known: Iterable[Criteria] = ()
) -> tuple[Balancer, frozenset[Criteria]]:
    """The balancer, and the subsets that there are now."""
    found = Subsets(lb, sets, around, known)
    shares = levels(sets, around.panic_threshold)
    return Balancer(shares, lambda _: (found.pick, found.pick_for)), found.known


def as_context_picker(found: Balancer) -> ContextPicker:
    if found.pick_for is not None:
        return found.pick_for
    pick = found.pick

    def pick_for(context: PickContext | None, attempt: int = 0) -> Host | None:
        """A retry leaves out the priorities that it has tried, of those of the subset."""
        tried: frozenset[int] = getattr(context, "tried_priorities", frozenset())
        return found.besides(tried)(context, attempt) if tried else pick()

    return pick_for


def _only(host: Host) -> ContextPicker:
    """`single_host_per_subset`: whatever its health."""
    return lambda context, attempt=0: host


def _fallbacks(selectors: Sequence[SubsetSelector]) -> Mapping[tuple[str, ...], SubsetSelector]:
    """By keys. As in Envoy, a selector whose keys begin an earlier one's has no fallback."""
    found: dict[tuple[str, ...], SubsetSelector] = {}
    seen: set[tuple[str, ...]] = set()
    for selector in selectors:
        if selector.keys not in seen:
            found[selector.keys] = selector
        seen.update(selector.keys[: at + 1] for at in range(len(selector.keys)))
    return found


# --------------------------------------------------------------------------- metadata


def frozen_criteria(wanted: Mapping[str, Any]) -> Criteria:
    return tuple((key, frozen(wanted[key])) for key in sorted(wanted))


def frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return ("struct", frozen_criteria(value))
    if isinstance(value, list | tuple):
        return ("list", tuple(frozen(each) for each in value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (type(value).__name__, value)
    return ("number", float(value))


def _combinations(host: Host, keys: Sequence[str], list_as_any: bool) -> Iterator[Criteria]:
    """The subsets that `host` is in by these keys; none if it lacks one of them."""
    labels = host.metadata.get(METADATA, {})
    if any(key not in labels for key in keys):
        return
    values = [
        labels[key] if list_as_any and isinstance(labels[key], list) else [labels[key]]
        for key in keys
    ]
    for chosen in product(*values):
        yield tuple((key, frozen(value)) for key, value in zip(keys, chosen, strict=True))


def _matches(host: Host, wanted: Mapping[str, Any], list_as_any: bool) -> bool:
    labels = host.metadata.get(METADATA, {})
    for key, value in wanted.items():
        if key not in labels:
            return False
        given = labels[key]
        candidates = given if list_as_any and isinstance(given, list) else [given]
        if frozen(value) not in [frozen(each) for each in candidates]:
            return False
    return True
