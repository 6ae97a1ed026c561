"""Access logs over gRPC (`HttpGrpcAccessLogConfig`, `TcpGrpcAccessLogConfig`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from protos.frozen import frozen
from proxy.config.model.services import GrpcService
from proxy.config.model.tracing import CustomTag


@frozen
class LogService:
    """`CommonGrpcAccessLogConfig`. Logs with the same one share a stream.

    buffer_bytes: entries wait for so many, 0 for none. filter_states: names of what is told of the
    stream's filter state."""

    kind: Literal["http", "tcp"]
    log_name: str
    service: GrpcService
    flush_interval_s: float = 1.0
    buffer_bytes: int = 16384
    filter_states: tuple[str, ...] = ()
    tags: tuple[CustomTag, ...] = ()


@frozen
class GrpcLog:
    """The headers are told beside those that an entry has a field for; names in lower case."""

    service: LogService
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()


OtelValue = str | Mapping[str, Any] | tuple[Any, ...]
"""A format string, an object of such values, or a list of them."""


@frozen
class OtelLog:
    """`OpenTelemetryAccessLogConfig`. resource: what it says beside who tells it; with built_in,
    the log's name and the node. prefix: of its statistics."""

    log_name: str
    service: GrpcService
    flush_interval_s: float = 1.0
    buffer_bytes: int = 16384
    body: OtelValue | None = None
    attributes: tuple[tuple[str, OtelValue], ...] = ()
    resource: tuple[tuple[str, OtelValue], ...] = ()
    built_in: bool = True
    prefix: str = ""
