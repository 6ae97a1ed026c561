"""An access log over gRPC: one entry per stream, at its end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from proxy.config.model.grpc_logs import GrpcLog
from proxy.config.model.log_filter import AccessLogFilter
from proxy.l7.log_batches import LogBatches
from proxy.l7.log_entry import HttpEntry, TcpEntry
from proxy.l7.log_filter import Wants, compile_log_filter
from proxy.runtime import RuntimeValues

if TYPE_CHECKING:
    from proxy.l7.logged import Logged


class GrpcAccessLogger:
    """Called with each stream at its end. wants: the streams that are logged, None for all."""

    def __init__(
        self,
        config: GrpcLog,
        wants: AccessLogFilter | None,
        batches: LogBatches,
        random: Random,
        runtime: RuntimeValues,
    ) -> None:
        tcp = config.service.kind == "tcp"
        self._entry = TcpEntry(config.service) if tcp else HttpEntry(config)
        self._wants: Wants | None = None
        if wants is not None:
            self._wants = compile_log_filter(wants, random, runtime)
        self._batches = batches

    def __call__(self, stream: Logged) -> None:
        if self._wants is None or self._wants(stream):
            self._batches.take(self._entry(stream))
