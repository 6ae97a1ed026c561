"""The hosts of one priority, by health and by locality: what policies choose from.

Made anew whenever membership or health changes; nothing in it changes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.upstream.host import Host

Zone = tuple[str, str, str]
"""(region, zone, sub_zone)"""


@dataclass(slots=True)
class LocalityHosts:
    """The hosts of one locality. weight: its `load_balancing_weight`, 0 if it has none."""

    zone: Zone
    weight: int
    hosts: list[Host] = field(default_factory=list)
    healthy: list[Host] = field(default_factory=list)
    degraded: list[Host] = field(default_factory=list)

    @property
    def excluded(self) -> int:
        return sum(host.excluded for host in self.hosts)


class HostSet:
    """localities: that of this proxy first if it is among them (`has_local`), the others sorted.

    excluded: hosts that count for no ratio yet (they wait for their first health check)."""

    __slots__ = (
        "degraded",
        "excluded",
        "has_local",
        "healthy",
        "hosts",
        "localities",
        "overprovisioning",
        "priority",
        "weighted_health",
    )

    def __init__(
        self,
        priority: int,
        localities: Sequence[LocalityHosts],
        overprovisioning: int = 140,
        weighted_health: bool = False,
        has_local: bool = False,
    ) -> None:
        self.priority = priority
        self.localities = localities
        self.overprovisioning = overprovisioning
        self.weighted_health = weighted_health
        self.has_local = has_local
        self.hosts = [host for one in localities for host in one.hosts]
        self.healthy = [host for one in localities for host in one.healthy]
        self.degraded = [host for one in localities for host in one.degraded]
        self.excluded = [host for host in self.hosts if host.excluded]

    def filtered(
        self, wanted: Callable[[Host], bool], weight: Callable[[LocalityHosts, int], int]
    ) -> HostSet:
        """Those that are `wanted`. weight: of a locality of which so many hosts are left."""
        kept = []
        for one in self.localities:
            hosts = [host for host in one.hosts if wanted(host)]
            kept.append(LocalityHosts(one.zone, weight(one, len(hosts)), hosts,
                                      [host for host in one.healthy if wanted(host)],
                                      [host for host in one.degraded if wanted(host)]))  # fmt: skip
        return HostSet(
            self.priority, kept, self.overprovisioning, self.weighted_health, self.has_local
        )


def host_sets(
    hosts: Iterable[Host],
    weights: Mapping[tuple[int, Zone], int] | None = None,
    overprovisioning: int = 140,
    weighted_health: bool = False,
    local_zone: Zone | None = None,
) -> list[HostSet]:
    """One set per priority from 0 to the highest. weights: of localities, by priority and zone."""
    groups: dict[int, dict[Zone, LocalityHosts]] = {0: {}}
    weights = weights or {}
    for host in hosts:
        by_zone = groups.setdefault(host.priority, {})
        zone = host.locality
        found = by_zone.get(zone)
        if found is None:
            weight = weights.get((host.priority, zone), 0)
            found = by_zone[zone] = LocalityHosts(zone, weight)
        found.hosts.append(host)
        if host.degraded:
            found.degraded.append(host)
        elif host.healthy:
            found.healthy.append(host)
    return [
        HostSet(
            priority,
            [by_zone[zone] for zone in _local_first(by_zone, local_zone)],
            overprovisioning,
            weighted_health,
            local_zone in by_zone,
        )
        for priority, by_zone in ((at, groups.get(at, {})) for at in range(max(groups) + 1))
    ]


def _local_first(zones: Iterable[Zone], local: Zone | None) -> list[Zone]:
    return sorted(zones, key=lambda zone: (zone != local, zone))
