"""Priorities and panic: which of the host sets serve, and how much (Envoy's load balancer docs).

A priority whose available share falls below 1/overprovisioning spills over to the next one;
degraded hosts take what healthy ones can't. When all together can't carry the load, a priority
below the panic threshold no longer believes in health, and all its hosts serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.upstream.balance.host_set import HostSet
from proxy.upstream.host import Host

Part = Literal["healthy", "degraded", "all"]
Share = tuple[int, int, Part]
"""(percent of the load, priority, which of its hosts)"""


@dataclass(frozen=True, slots=True)
class Levels:
    """shares: in the order in which Envoy walks through them; their percents sum to 100.

    health: percent that each priority could carry, for retries that avoid priorities and for
    aggregate clusters. panics: which priorities no longer believe in health."""

    shares: tuple[Share, ...]
    health: tuple[tuple[int, int], ...]
    panics: tuple[bool, ...] = ()

    def at(self, percent: float) -> tuple[int, Part]:
        """Who serves at this point of [0, 100)."""
        for load, priority, part in self.shares:
            percent -= load
            if percent < 0:
                return priority, part
        return self.shares[-1][1:]

    def besides(self, tried: frozenset[int]) -> Levels:
        """Without the priorities `tried` (the previous_priorities retry plugin). When nothing
        else is available, all are as before."""
        left = [(0, 0) if at in tried else both for at, both in enumerate(self.health)]
        if not any(healthy or degraded for healthy, degraded in left):
            return self
        return Levels(_with_panics(_shares(left), self.panics), self.health, self.panics)


def levels(sets: Sequence[HostSet], panic_threshold: float) -> Levels:
    """panic_threshold: percent; 0 never panics."""
    health = [_health(one) for one in sets]
    threshold = min(100, int(panic_threshold))
    calm = min(100, sum(map(sum, health))) == 100
    panics = [not calm and in_panic(one, threshold) for one in sets]
    return spread(health, panics, [len(one.hosts) for one in sets])


def spread(
    health: Sequence[tuple[int, int]], panics: Sequence[bool], sizes: Sequence[int]
) -> Levels:
    """health: what healthy and degraded hosts of each priority can carry, in percent."""
    if panics and all(panics):
        return Levels(_by_size(sizes), tuple(health), tuple(panics))
    shares = _with_panics(_shares(health), panics)
    return Levels(shares, tuple(health), tuple(panics))


def _with_panics(shares: Sequence[Share], panics: Sequence[bool]) -> tuple[Share, ...]:
    return tuple(
        (load, priority, "all" if panics[priority] else part) for load, priority, part in shares
    )


def in_panic(one: HostSet, threshold: float) -> bool:
    """Fewer than `threshold` percent of its hosts are available."""
    counted = len(one.hosts) - len(one.excluded)
    available = len(one.healthy) + len(one.degraded)
    return (100.0 * available / counted if counted else 0.0) < threshold


def _health(one: HostSet) -> tuple[int, int]:
    """What the healthy and the degraded hosts of a priority can carry, in percent."""
    total = _size(one, one.hosts) - _size(one, one.excluded)
    if total <= 0:
        return 0, 0
    factor = one.overprovisioning
    return (
        min(100, factor * _size(one, one.healthy) // total),
        min(100, factor * _size(one, one.degraded) // total),
    )


def _size(one: HostSet, hosts: Sequence[Host]) -> int:
    """`weighted_priority_health`: hosts count by their weight."""
    return sum(host.weight for host in hosts) if one.weighted_health else len(hosts)


def _shares(health: Sequence[tuple[int, int]]) -> tuple[Share, ...]:
    """The load by availability: healthy hosts of all priorities first, then degraded ones.
    Rounding goes to the first that has any (Envoy)."""
    available = min(100, sum(map(sum, health)))
    parts: tuple[tuple[int, Part], ...] = ((0, "healthy"), (1, "degraded"))
    left = 100
    shares: list[Share] = []
    for which, part in parts:
        for priority, both in enumerate(health):
            load = min(left, both[which] * 100 // available) if available else 0
            left -= load
            if both[which]:
                shares.append((load, priority, part))
    if left and shares:
        load, priority, part = shares[0]
        shares[0] = (load + left, priority, part)
    return tuple(share for share in shares if share[0]) or ((100, 0, "healthy"),)


def _by_size(sizes: Sequence[int]) -> tuple[Share, ...]:
    """All priorities panic: each gets what its number of hosts says, however they fare."""
    total = sum(sizes)
    loads = [100 * size // total if total else 0 for size in sizes]
    first = next((at for at, size in enumerate(sizes) if size), 0)
    loads[first] += 100 - sum(loads)
    return tuple((load, at, "all") for at, load in enumerate(loads) if load)
