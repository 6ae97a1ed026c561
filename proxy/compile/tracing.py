"""Tracers of connection managers: those with the same provider share one, and what it sends."""

from __future__ import annotations

from importlib.metadata import version
from weakref import WeakValueDictionary

from proxy.config.model import HttpConnectionManager
from proxy.config.model.tracing import OpenTelemetryConfig, Provider
from proxy.http.inquiry import Ask
from proxy.l7.tracing import Local, Tracing
from proxy.l7.worker import Worker
from proxy.stats import Stats
from proxy.tracing.export import Encoder, Exporter
from proxy.tracing.otlp_export import OtlpEncoder
from proxy.tracing.tracers import OpenTelemetryTracer, Tracer, ZipkinTracer
from proxy.tracing.zipkin import ZipkinEncoder
from proxy.upstream.asking import local_address

MAX_SPANS = 1024
"""That wait to be sent, where the configuration does not say how many."""


class Tracers:
    """Swept by the worker: spans of a manager that is gone leave, too."""

    def __init__(self, ask: Ask, worker: Worker, stats: Stats, local: Local) -> None:
        self._ask = ask
        self._worker = worker
        self._stats = stats
        self._local = local
        self._known: WeakValueDictionary[Provider, Tracer] = WeakValueDictionary()
        self._waiting: dict[Exporter, None] = {}
        worker.swept.append(self)

    def tracing(self, manager: HttpConnectionManager, egress: bool) -> Tracing | None:
        """None: the manager makes no traces."""
        config = manager.tracing
        if config is None:
            return None
        return Tracing(
            config,
            self._tracer(config.provider) if config.provider is not None else None,
            egress,
            self._local,
            self._worker,
            self._stats,
            manager.stat_prefix,
            manager.packs_trace_reason,
        )

    def _tracer(self, config: Provider) -> Tracer:
        found = self._known.get(config)
        if found is None:
            found = self._known[config] = self._made(config)
        return found

    def _made(self, config: Provider) -> Tracer:
        random = self._worker.random
        if isinstance(config, OpenTelemetryConfig):
            exporter = self._exporter(OtlpEncoder(config, version("weft")), config.max_spans)
            return OpenTelemetryTracer(config.sampler, config.ratio, exporter, random)
        address = local_address().decode()
        encoder = ZipkinEncoder(config, self._local.cluster, address)
        return ZipkinTracer(config, self._exporter(encoder, MAX_SPANS), random)

    def _exporter(self, encoder: Encoder, max_spans: int) -> Exporter:
        ask, stats, runtime = self._ask, self._stats, self._worker.runtime
        return Exporter(encoder, ask, stats, runtime, max_spans, self._wait)

    def _wait(self, exporter: Exporter) -> None:
        self._waiting[exporter] = None

    def sweep(self, now: float) -> None:
        self._waiting = {one: None for one in self._waiting if one.sweep(now)}
