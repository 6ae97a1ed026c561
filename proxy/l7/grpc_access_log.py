"""An access log over gRPC: one entry per stream, at its end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol

from proxy.config.model.grpc_logs import GrpcLog
from proxy.config.model.log_filter import AccessLogFilter
from proxy.l7.log_entry import HttpEntry, TcpEntry
from proxy.l7.log_filter import Wants, compile_log_filter
from proxy.runtime import RuntimeValues

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

Entry = Callable[["Logged"], bytes]


class Batches(Protocol):
    """Where entries go."""

    def has_room(self) -> bool: ...
    def take(self, entry: bytes) -> None: ...


def entry_of(config: GrpcLog) -> Entry:
    tcp = config.service.kind == "tcp"
    return TcpEntry(config.service) if tcp else HttpEntry(config)


class GrpcAccessLogger:
    """Called with each stream at its end. wants: the streams that are logged, None for all."""

    def __init__(
        self,
        entry: Entry,
        wants: AccessLogFilter | None,
        batches: Batches,
        random: Random,
        runtime: RuntimeValues,
    ) -> None:
        self._entry = entry
        self._wants: Wants | None = None
        if wants is not None:
            self._wants = compile_log_filter(wants, random, runtime)
        self._batches = batches

    def __call__(self, stream: Logged) -> None:
        if (self._wants is None or self._wants(stream)) and self._batches.has_room():
            self._batches.take(self._entry(stream))
