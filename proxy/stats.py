"""Counters, gauges and histograms under Envoy's dotted names. Knows no protocol and no format.

Runtime objects take their statistics from a `Stats` once, when they are made, and then only touch
`counter.value`: an attribute addition is all that a request pays. A name asked for again is the
same object, so a cluster rebuilt by a push goes on counting.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import nsmallest
from typing import Any, TypeVar

# Envoy's default histogram buckets, in the unit of the value (milliseconds for `*_time`, `*_ms`).
BUCKETS = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000,
    300000, 600000, 1800000, 3600000,
)  # fmt: skip


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


class Derived:
    """A counter or gauge that nobody keeps: its value follows from others when it is read."""

    __slots__ = ("_of",)

    def __init__(self, of: Callable[[], int]) -> None:
        self._of = of

    @property
    def value(self) -> int:
        return self._of()

    @value.setter
    def value(self, value: int) -> None:
        """Resetting (`/reset_counters`) is the business of those it follows from."""


class StatusCounts:
    """How many answers of each status: `counts[status] += 1` is all that an answer pays.

    `<prefix>completed`, `<prefix>2xx` and, where wanted, `<prefix>200` follow from it."""

    __slots__ = ("_single", "_stats", "counts", "prefix")

    def __init__(self, stats: Stats, prefix: str, single: bool) -> None:
        self._stats = stats
        self.prefix = prefix
        self._single = single
        self.counts: dict[int, int] = {}
        stats.derive(f"{prefix}completed", self.completed)
        for hundreds in range(1, 6):
            stats.derive(f"{prefix}{hundreds}xx", partial(self._of_class, hundreds))

    def add(self, status: int) -> None:
        counts = self.counts
        if status in counts:
            counts[status] += 1
            return
        counts[status] = 1
        if self._single and self._stats.keeps(self):  # the last streams may outlive their cluster
            self._stats.derive(f"{self.prefix}{status}", lambda: self.counts[status])

    def completed(self) -> int:
        """Envoy counts the informational ones, too."""
        return sum(self.counts.values())

    def final(self) -> int:
        """Without the informational ones (1xx but 101), which stand before others."""
        return sum(n for status, n in self.counts.items() if status >= 200 or status == 101)

    def _of_class(self, hundreds: int) -> int:
        return sum(count for status, count in self.counts.items() if status // 100 == hundreds)


class Histogram:
    """Counts per bucket, with sum and count. `record` only notes the value (it is the list's own
    append); notes are sorted into buckets by `fold`, which the worker calls every second, and when
    somebody reads."""

    __slots__ = ("_count", "_counts", "_notes", "_total", "record")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._count = 0
        self._total = 0.0
        self._notes: list[float] = []
        self.record = self._notes.append

    @property
    def counts(self) -> list[int]:
        """Per bucket, the last one being for what is above all edges."""
        self.fold()
        return self._counts

    @property
    def count(self) -> int:
        self.fold()
        return self._count

    @property
    def total(self) -> float:
        self.fold()
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

    def fold(self) -> None:
        """A bisection per note, or where they are many one sort and a bisection per bucket."""
        notes, counts = self._notes, self._counts
        if not notes:
            return
        if len(notes) < len(BUCKETS):
            for note in notes:
                counts[bisect_left(BUCKETS, note)] += 1
        else:
            notes.sort()
            below = 0
            for at, edge in enumerate(BUCKETS):
                upto = bisect_right(notes, edge)
                counts[at] += upto - below
                below = upto
            counts[-1] += len(notes) - below
        self._count += len(notes)
        self._total += sum(notes)
        notes.clear()


S = TypeVar("S")


class Table(dict[str, S]):
    """Statistics by name. Those of a family are there when somebody looks, but are made when
    something happens: a thousand clusters have forty counters each, most of which stay 0."""

    def __init__(self) -> None:
        super().__init__()
        self._families: dict[str, tuple[Sequence[str], Callable[[str], S]]] = {}

    def family(self, prefix: str, names: Sequence[str], look: Callable[[str], S]) -> None:
        """look: what one of `names` (without prefix) shows while nobody has made it."""
        self._families[prefix] = (names, look)

    def forget_family(self, prefix: str) -> None:
        self._families.pop(prefix, None)

    def made(self, name: str) -> S | None:
        return super().get(name)

    def __missing__(self, name: str) -> S:
        for prefix, (names, look) in self._families.items():
            if name.startswith(prefix) and name[len(prefix) :] in names:
                return look(name[len(prefix) :])
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def items(self) -> Any:
        return [*super().items(), *self._looked_at()]

    def values(self) -> Any:
        return [one for _, one in self.items()]

    def _looked_at(self) -> Iterator[tuple[str, S]]:
        made = super().__contains__
        for prefix, (names, look) in self._families.items():
            for name in names:
                if not made(prefix + name):
                    yield prefix + name, look(name)


Labels = tuple[tuple[str, str], ...]
"""Names and values of a sample, in the order in which they are shown."""

MAX_SERIES = 10_000
IDLE_S = 3600.0
"""What has not changed for so long is forgotten (Envoy: stats_eviction_interval)."""
RECENT_S = 300.0
"""What strangers have made gives way to what they make next when it was idle for so long."""
_ROUND = 60
"""In so many turns, of one a second, each sample is looked at."""
_GIVE_WAY_AT_ONCE = 256


class Held(Counter):
    """Of a sample. held: how many will count in it later; it is not forgotten before."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.value = 0
        self.held = 0


class _Sample:
    """seen: its value when it was looked at last; since: when it had another one before."""

    __slots__ = ("labels", "metric", "seen", "since", "statistic", "stranger")

    def __init__(
        self,
        metric: str,
        labels: Labels,
        statistic: Held | Histogram,
        since: float,
        stranger: bool,
    ) -> None:
        self.metric = metric
        self.labels = labels
        self.statistic = statistic
        self.seen = 0
        self.since = since
        self.stranger = stranger

    def value(self) -> int:
        statistic = self.statistic
        return statistic.count if isinstance(statistic, Histogram) else statistic.value

    def held(self) -> bool:
        statistic = self.statistic
        return isinstance(statistic, Held) and statistic.held > 0


class Labelled:
    """Statistics that have labels and no dotted name, by metric: at most `at_most` samples in all,
    as their labels come from requests.

    Those that nobody has touched for `idle_s` are forgotten. Where there is no room, those of
    strangers (who have shown no certificate) give way: to each other when they were idle for a
    while, to all others at once. Nothing else gives way, so that whoever makes labels up stops
    nothing that is counted. forgotten: how many were; when it grows, whoever keeps a sample has to
    ask for it again."""

    def __init__(self, at_most: int = MAX_SERIES, idle_s: float = IDLE_S) -> None:
        self.counters: dict[str, dict[Labels, Held]] = {}
        self.histograms: dict[str, dict[Labels, Histogram]] = {}
        self.forgotten = 0
        self._at_most = at_most
        self._idle_s = idle_s
        self._samples: list[_Sample] = []
        self._next = 0
        self._now = 0.0
        self._full: set[bool] = set()  # for (strangers), until the next turn

    def counter(self, metric: str, labels: Labels, stranger: bool = False) -> Held | None:
        """None: there are too many."""
        samples = self.counters.setdefault(metric, {})
        found = samples.get(labels)
        if found is None and self._has_room(stranger):
            found = self.counters.setdefault(metric, samples)[labels] = Held()
            self._samples.append(_Sample(metric, labels, found, self._now, stranger))
        return found

    def histogram(self, metric: str, labels: Labels, stranger: bool = False) -> Histogram | None:
        """As `counter`."""
        samples = self.histograms.setdefault(metric, {})
        found = samples.get(labels)
        if found is None and self._has_room(stranger):
            found = self.histograms.setdefault(metric, samples)[labels] = Histogram()
            self._samples.append(_Sample(metric, labels, found, self._now, stranger))
        return found

    def turn(self, now: float) -> None:
        """Each second; now: monotonic seconds. Sorts what the histograms have noted, and forgets
        what is idle, looking at a part of all each time."""
        for histograms in self.histograms.values():
            for histogram in histograms.values():
                histogram.fold()
        if not self._now:
            for one in self._samples:
                one.since = now
        self._now = now
        self._full.clear()
        for _ in range(len(self._samples) // _ROUND + 1):
            self._look(now)

    def _look(self, now: float) -> None:
        samples = self._samples
        if self._next >= len(samples):
            self._next = 0
        if not samples:
            return
        one = samples[self._next]
        value = one.value()
        if value != one.seen or one.held():
            one.seen, one.since = value, now
        elif now - one.since >= self._idle_s:
            samples[self._next] = samples[-1]
            samples.pop()
            self._forget(one)
            return
        self._next += 1

    def _has_room(self, stranger: bool) -> bool:
        if len(self._samples) < self._at_most:
            return True
        if stranger in self._full:
            return False
        before = self._now - RECENT_S
        idle = [
            (one.value() != one.seen, one.since, at)
            for at, one in enumerate(self._samples)
            if one.stranger
            and not one.held()
            and (not stranger or (one.since <= before and one.value() == one.seen))
        ]
        gone = {at for _, _, at in nsmallest(_GIVE_WAY_AT_ONCE, idle)}
        for at in gone:
            self._forget(self._samples[at])
        self._samples = [one for at, one in enumerate(self._samples) if at not in gone]
        if not gone:
            self._full.add(stranger)
        return bool(gone)

    def _forget(self, one: _Sample) -> None:
        of_counter = isinstance(one.statistic, Held)
        tables: Any = self.counters if of_counter else self.histograms
        del tables[one.metric][one.labels]
        if not tables[one.metric]:
            del tables[one.metric]
        self.forgotten += 1


class Stats:
    """The registry of one proxy. Names are Envoy's: `cluster.<name>.upstream_rq_total` ..."""

    def __init__(self) -> None:
        self.labelled = Labelled()
        self.counters: Table[Counter | Derived] = Table()
        self.gauges: Table[Gauge | Derived] = Table()
        self.histograms: dict[str, Histogram] = {}
        self._statuses: dict[str, StatusCounts] = {}

    def counter(self, name: str) -> Counter:
        found = self.counters.made(name)
        if found is None:
            found = self.counters[name] = Counter()
        assert isinstance(found, Counter), f"{name} follows from others"
        return found

    def statuses(self, prefix: str, single: bool) -> StatusCounts:
        """The counts of answers under `prefix`; single: with one counter per status."""
        found = self._statuses.get(prefix)
        if found is None:
            found = self._statuses[prefix] = StatusCounts(self, prefix, single)
        return found

    def keeps(self, counts: StatusCounts) -> bool:
        """False once `counts` was forgotten."""
        return self._statuses.get(counts.prefix) is counts

    def derive(self, name: str, of: Callable[[], int]) -> None:
        """A counter whose value is `of()` when it is read."""
        self.counters[name] = Derived(of)

    def gauge(self, name: str) -> Gauge:
        found = self.gauges.made(name)
        if found is None:
            found = self.gauges[name] = Gauge()
        assert isinstance(found, Gauge), f"{name} follows from others"
        return found

    def histogram(self, name: str) -> Histogram:
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = Histogram()
        return found

    def derive_gauge(self, name: str, of: Callable[[], int]) -> None:
        """A gauge whose value is `of()` when it is read."""
        self.gauges[name] = Derived(of)

    def turn(self, now: float) -> None:
        """Each second; now: monotonic seconds. Sorts what the histograms have noted into their
        buckets, and forgets samples that are idle."""
        for histogram in self.histograms.values():
            histogram.fold()
        self.labelled.turn(now)

    def forget(self, gone: Iterable[str], kept: Iterable[str] = ()) -> None:
        """Drops every name that starts with one of the prefixes `gone`: what it counted no longer
        exists. Not those that start with one of `kept`: `cluster.a.` is no part of `cluster.a.b.`,
        and two may share one."""
        living = sorted(kept)
        for prefix in gone:
            self.counters.forget_family(prefix)
            self.gauges.forget_family(prefix)
        spared = {prefix: tuple(_starting(living, prefix)) for prefix in gone}
        for table in (self.counters, self.gauges, self.histograms, self._statuses):
            names = sorted(table)
            for prefix, others in spared.items():
                for name in _starting(names, prefix):
                    if not name.startswith(others):
                        table.pop(name, None)


def _starting(names: Sequence[str], prefix: str) -> Iterator[str]:
    """Those of sorted `names` that start with `prefix`."""
    for at in range(bisect_left(names, prefix), len(names)):
        if not names[at].startswith(prefix):
            return
        yield names[at]
