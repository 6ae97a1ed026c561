"""`python -m benchmarks.parts`: what the parts of a request cost, in memory, one process, no wire.

A part is a function that prepares and returns the callable to time: `@part("route: 50 hosts")`.
Compare a run with a run of the same minute; across machines only the ratios mean something.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from timeit import Timer

from proxy.stats import Stats

Body = Callable[[], object]
PARTS: dict[str, Callable[[], Body]] = {}
REPEATS = 7
BLOCK_S = 0.05


def part(name: str) -> Callable[[Callable[[], Body]], Callable[[], Body]]:
    """Registers a part; `name` is `<room>: <what>`."""

    def register(prepare: Callable[[], Body]) -> Callable[[], Body]:
        PARTS[name] = prepare
        return prepare

    return register


def best_ns(body: Body) -> float:
    """The fastest of several blocks, per call: everything slower is the machine's doing."""
    timer = Timer(body)
    count = 1
    while timer.timeit(count) < BLOCK_S:
        count *= 2
    return min(timer.repeat(REPEATS, count)) / count * 1e9


@part("stats: the ten counters of a request")
def _counters() -> Body:
    stats = Stats()
    counters = [stats.counter(f"cluster.upstream.counter_{number}") for number in range(10)]

    def count() -> None:
        for counter in counters:
            counter.value += 1

    return count


@part("stats: one histogram value")
def _histogram() -> Body:
    histogram = Stats().histogram("cluster.upstream.upstream_rq_time")
    return lambda: histogram.record(7.0)


def main(wanted: list[str]) -> None:
    """Times every part whose name contains one of `wanted`; all without."""
    gc.freeze()
    for name, prepare in PARTS.items():
        if not wanted or any(word in name for word in wanted):
            print(f"{best_ns(prepare()):10.0f} ns  {name}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
