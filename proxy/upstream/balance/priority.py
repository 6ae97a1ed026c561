"""Priorities and panic: which of the host groups serve, and how much (Envoy's load balancer docs).

A priority whose healthy share falls below 1/overprovisioning spills over to the next one. When all
of them together can't carry the load, a priority below the panic threshold no longer believes in
health, and all its hosts serve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from proxy.upstream.balance.policies import Picker
from proxy.upstream.host import Host


def by_priority(
    hosts: Sequence[Host],
    overprovisioning: int,
    panic_threshold: float,
    build: Callable[[Sequence[Host]], Picker],
    random: Random,
) -> Picker:
    """A picker over all priorities. panic_threshold: percent; 0 never panics."""
    groups = [
        [host for host in hosts if host.priority == level]
        for level in sorted({host.priority for host in hosts})
    ]
    healthy = [[host for host in group if host.healthy] for group in groups]
    loads = priority_loads([(len(h), len(g)) for h, g in zip(healthy, groups, strict=True)],
                           overprovisioning)  # fmt: skip
    pickers: list[tuple[int, Picker]] = []
    shares = [overprovisioning * len(h) // len(g) for h, g in zip(healthy, groups, strict=True)]
    enough = sum(min(100, share) for share in shares) >= 100
    for load, group, good in zip(loads, groups, healthy, strict=True):
        if load:
            panic = not enough and 100 * len(good) < panic_threshold * len(group)
            pickers.append((load, build(group if panic else good)))
    if not pickers:
        return lambda: None
    if len(pickers) == 1:
        return pickers[0][1]

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


def priority_loads(counts: Sequence[tuple[int, int]], overprovisioning: int) -> list[int]:
    """Percent of the load for each priority from (healthy, all) counts; they sum to 100.

    When no priority has a healthy host, all load goes to the first one that has hosts: its panic
    decides whether they serve."""
    health = [min(100, overprovisioning * good // total) if total else 0 for good, total in counts]
    available = min(100, sum(health))
    if available == 0:
        first = next((at for at, (_, total) in enumerate(counts) if total), None)
        return [100 if at == first else 0 for at in range(len(counts))]
    loads: list[int] = []
    left = 100
    for share in health:
        load = min(left, share * 100 // available)
        loads.append(load)
        left -= load
    if left:  # rounding goes to the first that serves (Envoy)
        loads[next(at for at, load in enumerate(loads) if load)] += left
    return loads
