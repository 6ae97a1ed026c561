"""Spans to a collector, in batches over a cluster of the proxy's own.

A batch goes when it is large enough or old enough (Envoy's runtime keys), and while few are on
their way: a slow collector gets larger batches rather than more requests. What does not fit into
the memory that is left to it is dropped and counted; nothing waits for a collector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from proxy.http.inquiry import Ask, Inquiry, Outcome
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.tracing.span import Span

MAX_UNDER_WAY = 4
MAX_BYTES = 4 * 1024 * 1024
"""Of spans that wait and of those on their way: tags are as long as clients' headers."""
TIMEOUT_S = 10.0
"""Of an export whose service has none (OTLP's default)."""


class Encoder(Protocol):
    """How a batch is told. kind: Envoy's name of the tracer, in statistics and runtime keys."""

    kind: str
    min_spans: int
    interval_ms: int

    def inquiry(self, spans: Sequence[Span]) -> Inquiry: ...

    def taken(self, outcome: Outcome) -> bool:
        """Whether the collector has the batch."""


class Exporter:
    """`take` spans; `sweep` about once a second. begun: called with it when spans wait to be sent
    and none did before."""

    def __init__(
        self,
        encoder: Encoder,
        ask: Ask,
        stats: Stats,
        runtime: RuntimeValues,
        max_spans: int,
        begun: Callable[[Exporter], None],
    ) -> None:
        self._encoder = encoder
        self._ask = ask
        self._runtime = runtime
        self._max_spans = max_spans
        self._begun = begun
        self._under_way = 0
        self._since = 0.0
        self._waiting_bytes = self._under_way_bytes = 0
        self.waiting: list[Span] = []
        prefix = f"tracing.{encoder.kind}."
        self._key = prefix
        self._sent = stats.counter(f"{prefix}spans_sent")
        self._dropped = stats.counter(f"{prefix}spans_dropped")
        self._flushed = stats.counter(f"{prefix}timer_flushed")
        self._lost = stats.counter(f"{prefix}exports_failed")

    def take(self, span: Span) -> None:
        size_bytes = span.size_bytes()
        held_bytes = self._waiting_bytes + self._under_way_bytes
        if len(self.waiting) >= self._max_spans or held_bytes + size_bytes > MAX_BYTES:
            self._dropped.value += 1
            return
        if not self.waiting:
            self._begun(self)
        self.waiting.append(span)
        self._waiting_bytes += size_bytes
        least = self._runtime.integer(f"{self._key}min_flush_spans", self._encoder.min_spans)
        if len(self.waiting) >= least and self._under_way < MAX_UNDER_WAY:
            self._flush()

    def sweep(self, now: float) -> bool:
        """now: monotonic seconds. False: nothing waits, so that it need not be asked again."""
        if not self.waiting:
            self._since = 0.0
            return False
        self._since = self._since or now
        key, usual = f"{self._key}flush_interval_ms", self._encoder.interval_ms
        if now - self._since >= self._runtime.integer(key, usual) / 1000:
            self._flushed.value += 1
            self._since = now
            if self._under_way < MAX_UNDER_WAY:
                self._flush()
        return True

    def _flush(self) -> None:
        spans, self.waiting = self.waiting, []
        size_bytes, self._waiting_bytes = self._waiting_bytes, 0
        self._since = 0.0
        self._under_way += 1
        self._under_way_bytes += size_bytes
        self._sent.value += len(spans)
        self._ask(self._encoder.inquiry(spans), partial(self._told, size_bytes))

    def _told(self, size_bytes: int, outcome: Outcome) -> None:
        self._under_way -= 1
        self._under_way_bytes -= size_bytes
        if not self._encoder.taken(outcome):
            self._lost.value += 1
