"""Round robin, least request and random, as Envoy has them. Pure but for the randomness handed in.

A policy is built from the hosts that may be picked, whenever they change, and is then a closure.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random

from proxy.upstream.host import Host

Picker = Callable[[], Host | None]


def picker(policy: str, hosts: Sequence[Host], random: Random, choices: int = 2) -> Picker:
    """policy: a `Cluster.lb_policy`. An empty list gives a picker of None."""
    if not hosts:
        return lambda: None
    if len(hosts) == 1:
        only = hosts[0]
        return lambda: only
    weighted = any(host.weight != hosts[0].weight for host in hosts)
    if policy == "RANDOM":
        return _random(hosts, random)
    if policy == "LEAST_REQUEST":
        return (
            _scheduled(hosts, random, by_load=True)
            if weighted
            else _least_request(hosts, random, choices)
        )
    return _scheduled(hosts, random, by_load=False) if weighted else _rotating(hosts, random)


def _rotating(hosts: Sequence[Host], random: Random) -> Picker:
    """Unweighted round robin from a random start, so that many proxies do not march in step."""
    order = list(hosts)
    count = len(order)
    at = random.randrange(count)

    def pick() -> Host:
        nonlocal at
        at = at + 1 if at + 1 < count else 0
        return order[at]

    return pick


def _random(hosts: Sequence[Host], random: Random) -> Picker:
    edges = list(accumulate(host.weight for host in hosts))
    total = edges[-1]

    def pick() -> Host:
        return hosts[bisect_right(edges, random.random() * total)]

    return pick


def _least_request(hosts: Sequence[Host], random: Random, choices: int) -> Picker:
    """The power of `choices`: of that many at random, the one with the fewest in flight."""
    count = len(hosts)

    def pick() -> Host:
        best = hosts[int(random.random() * count)]
        for _ in range(choices - 1):
            other = hosts[int(random.random() * count)]
            if other.active < best.active:
                best = other
        return best

    return pick


def _scheduled(hosts: Sequence[Host], random: Random, by_load: bool) -> Picker:
    """Earliest deadline first: each host comes up in proportion to its weight (Envoy's EDF).

    by_load: the weight counts divided by what the host has in flight (weighted least request)."""
    queue = [(random.random() / host.weight, at, host) for at, host in enumerate(hosts)]
    heapq.heapify(queue)

    def pick() -> Host:
        deadline, at, host = queue[0]
        weight = host.weight / (host.active + 1) if by_load else host.weight
        heapq.heapreplace(queue, (deadline + 1 / weight, at, host))
        return host

    return pick
