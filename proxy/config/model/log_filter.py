"""Which streams an access log takes: `config.accesslog.v3.AccessLogFilter`."""

from __future__ import annotations

from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import FractionalPercent, HeaderMatcher
from proxy.config.model.metadata import MetadataMatcher


@frozen
class Comparison:
    """Of a status code, or of milliseconds. value: unless the runtime has another."""

    of: Literal["status_code", "duration"]
    op: Literal["EQ", "GE", "LE", "NE"]
    value: int
    runtime_key: str


@frozen
class NotHealthCheck:
    pass


@frozen
class Sampled:
    """So many of all."""

    share: FractionalPercent


@frozen
class AllOf:
    filters: tuple[AccessLogFilter, ...]


@frozen
class AnyOf:
    filters: tuple[AccessLogFilter, ...]


@frozen
class RequestHeader:
    matcher: HeaderMatcher


@frozen
class ResponseFlags:
    """One of them; without any, any flag at all."""

    flags: frozenset[str]


@frozen
class GrpcStatus:
    statuses: frozenset[int]
    exclude: bool


@frozen
class DynamicMetadata:
    """matcher None: nothing is asked for."""

    matcher: MetadataMatcher | None
    if_missing: bool


@frozen
class LogType:
    types: frozenset[str]
    exclude: bool


AccessLogFilter = (
    Comparison | NotHealthCheck | Sampled | AllOf | AnyOf | RequestHeader | ResponseFlags
    | GrpcStatus | DynamicMetadata | LogType
)  # fmt: skip
