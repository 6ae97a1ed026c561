"""Spans leave in batches, within bounds, and what is lost is counted."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from proxy.http.headers import Headers
from proxy.http.inquiry import Asking, Inquiry, Outcome, Told
from proxy.http.message import Request
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.tracing.export import MAX_BYTES, MAX_UNDER_WAY, Exporter
from proxy.tracing.span import Span


class Encoder:
    kind = "opentelemetry"
    min_spans = 5
    interval_ms = 5000

    def inquiry(self, spans: Sequence[Span]) -> Inquiry:
        names = ",".join(span.name for span in spans).encode()
        return Inquiry("c", Request(b"POST", b"/", b"c", Headers()), names)

    def taken(self, outcome: Outcome) -> bool:
        return outcome.status == 200


class Collector:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Told]] = []

    def cancel(self) -> None:
        return

    def ask(self, inquiry: Inquiry, told: Told) -> Asking:
        self.asked.append((inquiry.body, told))
        return self

    def answer(self, status: int) -> None:
        for _, told in self.asked:
            told(Outcome(status))


class Exporting:
    def __init__(self, max_spans: int = 1024) -> None:
        self.stats, self.collector, self.begun = Stats(), Collector(), 0
        self.exporter = Exporter(
            Encoder(), self.collector.ask, self.stats, RuntimeValues(), max_spans, self._begin
        )

    def _begin(self, _: Exporter) -> None:
        self.begun += 1

    def take(self, names: str) -> None:
        for name in names:
            self.exporter.take(Span(name, "SERVER", Random(1), None))

    def count(self, name: str) -> int:
        return self.stats.counter(f"tracing.opentelemetry.{name}").value

    @property
    def told(self) -> list[bytes]:
        return [body for body, _ in self.collector.asked]


def test_a_batch_goes_when_it_is_large_enough() -> None:
    made = Exporting()
    made.take("abcd")
    assert made.told == []
    made.take("e")
    assert made.told == [b"a,b,c,d,e"]
    assert made.count("spans_sent") == 5


def test_a_batch_goes_when_it_is_old_enough() -> None:
    made = Exporting()
    made.take("a")
    assert made.begun == 1
    assert made.exporter.sweep(100.0)
    assert made.exporter.sweep(104.9)
    assert made.told == []
    made.exporter.sweep(105.0)
    assert made.told == [b"a"]
    assert made.count("timer_flushed") == 1
    assert not made.exporter.sweep(106.0)


def test_a_slow_collector_gets_larger_batches_and_not_more_requests() -> None:
    made = Exporting()
    made.take("abcde" * (MAX_UNDER_WAY + 2))
    assert len(made.told) == MAX_UNDER_WAY
    made.collector.answer(200)
    made.take("f")
    assert made.told[-1] == b"a,b,c,d,e,a,b,c,d,e,f"
    assert made.count("exports_failed") == 0


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    made = Exporting(max_spans=7)
    made.take("abcde" * MAX_UNDER_WAY + "1234567890")
    assert made.count("spans_dropped") == 3
    assert len(made.exporter.waiting) == 7


def test_long_tags_are_bounded_too_with_those_that_are_on_their_way() -> None:
    """A client says how long they are."""
    made = Exporting()

    def take(count: int, text: str) -> None:
        for _ in range(count):
            span = Span("a", "SERVER", Random(1), None)
            span.tags["user_agent"] = text
            made.exporter.take(span)

    take(100, "x" * (MAX_BYTES // 20))
    assert len(made.told) == 3
    assert made.count("spans_dropped") == 100 - 19
    assert len(made.exporter.waiting) == 4
    made.collector.answer(200)
    take(1, "x")
    assert len(made.told) == 4
    made.collector.asked = made.collector.asked[3:]
    made.collector.answer(200)
    made.exporter.sweep(1.0)
    assert made.exporter.waiting == []
    take(4, "\u0436" * (MAX_BYTES // 16))
    assert (len(made.exporter.waiting), made.count("spans_dropped")) == (3, 100 - 19 + 1)


def test_an_export_that_failed_is_counted() -> None:
    made = Exporting()
    made.take("abcde")
    made.collector.answer(503)
    assert made.count("exports_failed") == 1
