"""Envoy's contrib policy peak-EWMA: of two random hosts the one that costs less.

The cost is what the host's answers took lately, times its requests. Pure: it knows no clock.

Envoy measures in whole milliseconds and leaves out what took less than one; here parts count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import exp, floor
from random import Random

from proxy.config.model.balancing import PeakEwmaLb
from proxy.upstream.balance.context import Picker
from proxy.upstream.host import Host

_LEAST_INTERVAL_S = 0.001


class Latency:
    """What answers of one host took. average_s: 0.0 until there is a sample.

    Samples are taken into the average at the ends of Envoy's aggregation intervals, each by
    1 - e^(-age/decay): one that came late in its interval counts for less."""

    __slots__ = ("_interval_s", "_samples", "average_s", "config")

    def __init__(self, config: PeakEwmaLb) -> None:
        self.config = config
        self.average_s = 0.0
        self._interval_s = max(config.aggregation_interval_s, _LEAST_INTERVAL_S)
        self._samples: deque[tuple[float, float]] = deque(maxlen=config.max_samples)

    def record(self, took_s: float, now: float) -> None:
        self.settle(now)
        self._samples.append((now, took_s))

    def settle(self, now: float) -> None:
        """Takes in the samples of the intervals that are over."""
        samples = self._samples
        while samples:
            came, took_s = samples[0]
            end = (floor(came / self._interval_s) + 1) * self._interval_s
            if now < end:
                return
            samples.popleft()
            share = _share(end - came, self.config.decay_s) if self.average_s else 1.0
            self.average_s += share * (took_s - self.average_s)

    def cost(self, active: int, now: float) -> float:
        """In milliseconds; a host that has requests but never answered is as good as out."""
        if self._samples:
            self.settle(now)
        if self.average_s:
            return self.average_s * 1000 * (active + 1)
        if active:
            return self.config.penalty + active
        return self.config.default_rtt_s * 1000


def _share(age_s: float, decay_s: float) -> float:
    return 1 - exp(-age_s / decay_s) if age_s > 0 and decay_s > 0 else 1.0


def measure(lb: PeakEwmaLb, hosts: Sequence[Host]) -> None:
    """From now on the answers of these hosts are to be measured; what is known of them stays."""
    for host in hosts:
        if host.latency is None or host.latency.config != lb:
            host.latency = Latency(lb)


def cheaper_of_two(hosts: Sequence[Host], random: Random, now: Callable[[], float]) -> Picker:
    """hosts: at least two, measured ones."""
    count = len(hosts)

    def cost(host: Host, time: float) -> float:
        assert host.latency is not None
        return host.latency.cost(host.active, time)

    def pick() -> Host:
        first = int(random.random() * count)
        second = int(random.random() * (count - 1))
        one, other = hosts[first], hosts[second + (second >= first)]
        time = now()
        return one if cost(one, time) <= cost(other, time) else other

    return pick
