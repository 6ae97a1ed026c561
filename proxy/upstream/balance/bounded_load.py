"""Consistent hashing with bounded loads: a host that has too much in flight hands on.

`hash_balance_factor` percent of the average is what a host may have; who takes over is drawn by a
generator whose seed is the hash, so that the same hash tries the same hosts in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from random import Random

from proxy.upstream.balance.hashing import HashPicker, NormalizedWeights
from proxy.upstream.host import Host

_WORD = 0xFFFFFFFF


def bounded(
    inner: HashPicker, weights: NormalizedWeights, factor: int, in_flight: Callable[[], int]
) -> HashPicker:
    """in_flight: requests of the whole cluster now."""
    share = dict(weights)

    def load(host: Host) -> float:
        slots = ((in_flight() + 1) * factor + 99) // 100
        return host.active / max(ceil(slots * share[host]), 1)

    def pick(value: int, attempt: int) -> Host | None:
        host = inner(value, attempt)
        if host is None or load(host) <= 1.0:
            return host
        best, best_load = host, load(host)
        for other in _shuffled([each for each, _ in weights], value):
            if other is not host:
                its = load(other)
                if its <= 1.0:
                    return other
                if its < best_load:
                    best, best_load = other, its
        return best

    return pick


def _shuffled(hosts: list[Host], seed: int) -> Iterator[Host]:
    words = mt19937(seed)
    count = len(hosts)
    for at in range(count):
        chosen = at + _below(words, count - at)
        hosts[at], hosts[chosen] = hosts[chosen], hosts[at]
        yield hosts[at]


def _below(words: Random, bound: int) -> int:
    """Uniform in [0, bound), from as many words of the generator as Envoy takes."""
    found = bound
    while found >= bound:
        found = words.getrandbits(32) // (0x100000000 // bound)
    return found


def mt19937(seed: int) -> Random:
    """C++'s `std::mt19937(seed)`: Python has the same generator, but seeds it otherwise."""
    state = [seed & _WORD]
    for at in range(1, 624):
        before = state[-1]
        state.append((1812433253 * (before ^ (before >> 30)) + at) & _WORD)
    made = Random()
    made.setstate((3, (*state, 624), None))
    return made
