"""Access logs over gRPC: those with the same service share a stream to it, and its batches."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from weakref import WeakValueDictionary, finalize

from proxy.config.model import AccessLog, Node
from proxy.config.model.grpc_logs import LogService, OtelLog
from proxy.config.model.log_filter import AccessLogFilter
from proxy.http.inquiry import Ask
from proxy.l7.grpc_access_log import GrpcAccessLogger, entry_of
from proxy.l7.log_batches import LogBatches
from proxy.l7.log_identifier import identifier
from proxy.l7.otel_batches import OtelBatches
from proxy.l7.otel_entry import OtelEntry, resource
from proxy.l7.worker import Worker
from proxy.stats import Stats
from proxy.upstream.cluster import Cluster
from proxy.upstream.one_way import OneWay

PATH = b"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


class GrpcLogs:
    """Swept by the worker: streams of logs that are gone end."""

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        ask: Ask,
        worker: Worker,
        stats: Stats,
        node: Node,
    ) -> None:
        """clusters: the running ones, by name."""
        self._ask = ask
        self._clusters = clusters
        self._worker = worker
        self._stats = stats
        self._node = node
        self._known: WeakValueDictionary[LogService, LogBatches] = WeakValueDictionary()
        self._left: list[OneWay] = []
        worker.swept.append(self)

    def logger(self, config: AccessLog) -> GrpcAccessLogger:
        """config: one with `grpc`."""
        log, worker = config.grpc, self._worker
        if isinstance(log, OtelLog):
            return self._over_otlp(log, config.wants)
        assert log is not None, "it is a log over gRPC"
        batches = self._known.get(log.service)
        if batches is None:
            batches = self._known[log.service] = self._made(log.service)
        entry = entry_of(log)
        return GrpcAccessLogger(entry, config.wants, batches, worker.random, worker.runtime)

    def _over_otlp(self, log: OtelLog, wants: AccessLogFilter | None) -> GrpcAccessLogger:
        """Each has batches of its own: there is no stream to share."""
        worker, told = self._worker, resource(log, self._node)
        batches = OtelBatches(log, told, self._ask, worker.call_later, self._stats)
        return GrpcAccessLogger(OtelEntry(log), wants, batches, worker.random, worker.runtime)

    def _made(self, config: LogService) -> LogBatches:
        collector = OneWay(self._clusters, config.service, PATH)
        batches = LogBatches(
            collector,
            identifier(self._node, version("weft"), config.log_name),
            config.kind,
            config.buffer_bytes,
            config.flush_interval_s,
            self._worker.call_later,
            self._stats,
        )
        # Not at once: nobody knows in the middle of what the last reference goes.
        finalize(batches, self._left.append, collector)
        return batches

    def sweep(self, now: float) -> None:
        while self._left:
            self._left.pop().finish()
