"""Access logs over gRPC (`HttpGrpcAccessLogConfig`, `TcpGrpcAccessLogConfig`)."""

from __future__ import annotations

from typing import Literal

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
