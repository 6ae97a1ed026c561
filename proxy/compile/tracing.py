"""Tracers of connection managers: those with the same provider share one, and what it sends."""

from __future__ import annotations

from importlib.metadata import version
from weakref import WeakValueDictionary

from proxy.config.model import HttpConnectionManager
from proxy.config.model.tracing import OpenTelemetryConfig, Sampler
from proxy.http.headers import Headers
from proxy.http.inquiry import Ask
from proxy.l7.tracing import Local, Tracing
from proxy.l7.worker import Worker
from proxy.stats import Stats
from proxy.tracing import w3c
from proxy.tracing.export import Exporter
from proxy.tracing.otlp_export import OtlpEncoder
from proxy.tracing.span import Parent, Span


class OpenTelemetry:
    """An OpenTelemetry tracer of one provider."""

    __slots__ = ("__weakref__", "_exporter", "sampler")

    def __init__(self, sampler: Sampler, exporter: Exporter) -> None:
        self.sampler = sampler
        self._exporter = exporter

    def parent_of(self, headers: Headers) -> Parent | None:
        return w3c.parent_of(headers)

    def write(self, headers: Headers, span: Span) -> None:
        w3c.write(headers, span)

    def take(self, span: Span) -> None:
        self._exporter.take(span)


class Tracers:
    """Swept by the worker: spans of a manager that is gone leave, too."""

    def __init__(self, ask: Ask, worker: Worker, stats: Stats, local: Local) -> None:
        self._ask = ask
        self._worker = worker
        self._stats = stats
        self._local = local
        self._known: WeakValueDictionary[OpenTelemetryConfig, OpenTelemetry] = WeakValueDictionary()
        self._waiting: dict[Exporter, None] = {}
        worker.swept.append(self)

    def tracing(self, manager: HttpConnectionManager, egress: bool) -> Tracing | None:
        """None: the manager makes no traces."""
        config = manager.tracing
        if config is None:
            return None
        tracer = self._tracer(config.provider) if config.provider is not None else None
        return Tracing(
            config,
            tracer,
            egress,
            self._local,
            self._worker,
            self._stats,
            manager.stat_prefix,
            manager.packs_trace_reason,
        )

    def _tracer(self, config: OpenTelemetryConfig) -> OpenTelemetry:
        found = self._known.get(config)
        if found is None:
            encoder = OtlpEncoder(config, version("weft"))
            exporter = Exporter(
                encoder,
                self._ask,
                self._stats,
                self._worker.runtime,
                config.max_spans,
                self._wait,
            )
            found = self._known[config] = OpenTelemetry(config.sampler, exporter)
        return found

    def _wait(self, exporter: Exporter) -> None:
        self._waiting[exporter] = None

    def sweep(self, now: float) -> None:
        self._waiting = {one: None for one in self._waiting if one.sweep(now)}
