"""Counters, gauges and histograms under Envoy's dotted names. Knows no protocol and no format.

Runtime objects take their statistics from a `Stats` once, when they are made, and then only touch
`counter.value`: an attribute addition is all that a request pays. A name asked for again is the
same object, so a cluster rebuilt by a push goes on counting.
"""

from __future__ import annotations

from bisect import bisect_left

# Envoy's default histogram buckets, in the unit of the value (milliseconds for `*_time`, `*_ms`).
BUCKETS = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000,
    300000, 600000, 1800000, 3600000,
)  # fmt: skip

MAX_NOTES = 512


class Counter:
    """Only goes up: `counter.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Gauge:
    """Goes up and down; read as it is now."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Histogram:
    """Counts per bucket, with sum and count. `record` only notes the value; notes are sorted into
    buckets when there are many of them or somebody reads."""

    __slots__ = ("_count", "_counts", "_notes", "_total")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._count = 0
        self._total = 0.0
        self._notes: list[float] = []

    def record(self, value: float) -> None:
        notes = self._notes
        notes.append(value)
        if len(notes) >= MAX_NOTES:
            self._sort()

    @property
    def counts(self) -> list[int]:
        """Per bucket, the last one being for what is above all edges."""
        self._sort()
        return self._counts

    @property
    def count(self) -> int:
        self._sort()
        return self._count

    @property
    def total(self) -> float:
        self._sort()
        return self._total

    def quantile(self, share: float) -> float:
        """The upper edge of the bucket that holds the `share` quantile; 0 when empty."""
        wanted = share * self.count
        seen = 0
        for edge, count in zip((*BUCKETS, BUCKETS[-1]), self._counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return edge
        return 0.0

    def _sort(self) -> None:
        notes = self._notes
        if notes:
            for value in notes:
                self._counts[bisect_left(BUCKETS, value)] += 1
            self._count += len(notes)
            self._total += sum(notes)
            notes.clear()


class Stats:
    """The registry of one proxy. Names are Envoy's: `cluster.<name>.upstream_rq_total` ..."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}

    def counter(self, name: str) -> Counter:
        found = self.counters.get(name)
        if found is None:
            found = self.counters[name] = Counter()
        return found

    def gauge(self, name: str) -> Gauge:
        found = self.gauges.get(name)
        if found is None:
            found = self.gauges[name] = Gauge()
        return found

    def histogram(self, name: str) -> Histogram:
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = Histogram()
        return found

    def forget(self, prefix: str) -> None:
        """Drops every name that starts with `prefix`: what it counted no longer exists."""
        for table in (self.counters, self.gauges, self.histograms):
            for name in [name for name in table if name.startswith(prefix)]:
                del table[name]
