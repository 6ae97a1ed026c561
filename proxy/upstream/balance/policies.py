"""The policies that look at hosts alone, as Envoy has them. Pure but for the randomness handed in.

A policy is built from the hosts that may be picked, whenever they change, and is then a closure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from proxy.config.model.balancing import LeastRequestLb, PeakEwmaLb, RandomLb, RoundRobinLb
from proxy.config.model.health import SlowStart
from proxy.upstream.balance.context import Picker
from proxy.upstream.balance.edf import schedule
from proxy.upstream.balance.peak_ewma import cheaper_of_two, measure
from proxy.upstream.host import Host

SimpleLb = RoundRobinLb | LeastRequestLb | RandomLb | PeakEwmaLb
Now = Callable[[], float]


def picker(lb: SimpleLb, hosts: Sequence[Host], random: Random, now: Now) -> Picker:
    """An empty list gives a picker of None. now: monotonic seconds, for slow start."""
    if not hosts:
        return lambda: None
    if isinstance(lb, PeakEwmaLb):
        measure(lb, hosts)
    if len(hosts) == 1:
        only = hosts[0]
        return lambda: only
    if isinstance(lb, RandomLb):
        return _random(hosts, random)
    if isinstance(lb, PeakEwmaLb):
        return cheaper_of_two(hosts, random, now)
    weighted = any(host.weight != hosts[0].weight for host in hosts)
    if weighted or _is_any_new(hosts, lb.slow_start, now()):
        return schedule(hosts, _weight(lb, now), random)
    if isinstance(lb, RoundRobinLb):
        return _rotating(hosts, random)
    if lb.full_scan:
        return _least_of_all(hosts, random)
    return _least_request(hosts, random, lb.choice_count)


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
    """Envoy's random policy does not look at weights."""
    count = len(hosts)
    return lambda: hosts[int(random.random() * count)]


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


def _least_of_all(hosts: Sequence[Host], random: Random) -> Picker:
    """FULL_SCAN: one of those with the fewest in flight, each as likely."""

    def pick() -> Host:
        fewest = min(host.active for host in hosts)
        idlest = [host for host in hosts if host.active == fewest]
        return idlest[int(random.random() * len(idlest))]

    return pick


# --------------------------------------------------------------------------- weights


def _weight(lb: RoundRobinLb | LeastRequestLb, now: Now) -> Callable[[Host], float]:
    slow = lb.slow_start
    if isinstance(lb, RoundRobinLb):
        if slow is None:
            return lambda host: host.weight
        return lambda host: host.weight * slow_factor(slow, now() - host.since)
    bias = lb.active_request_bias

    def weight(host: Host) -> float:
        found: float = host.weight / (host.active + 1) ** bias
        return found if slow is None else found * slow_factor(slow, now() - host.since)

    return weight


def _is_any_new(hosts: Sequence[Host], slow: SlowStart | None, now: float) -> bool:
    return slow is not None and any(now - host.since < slow.window_s for host in hosts)


def slow_factor(slow: SlowStart, age_s: float) -> float:
    """The share of its weight that a host of this age has (Envoy's slow start formula)."""
    if age_s >= slow.window_s:
        return 1.0
    grown = max(age_s, 0.001) / slow.window_s
    return max(float(grown ** (1 / slow.aggression)), slow.min_weight_percent / 100)
