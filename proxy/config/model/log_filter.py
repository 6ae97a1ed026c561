"""Which streams an access log takes: `config.accesslog.v3.AccessLogFilter`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.config.model.common import FractionalPercent, HeaderMatcher
from proxy.config.model.metadata import MetadataMatcher


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of a status code, or of milliseconds. value: unless the runtime has another."""

    of: Literal["status_code", "duration"]
    op: Literal["EQ", "GE", "LE", "NE"]
    value: int
    runtime_key: str


@dataclass(frozen=True, slots=True)
class NotHealthCheck:
    pass


@dataclass(frozen=True, slots=True)
class Sampled:
    """So many of all."""

    share: FractionalPercent


@dataclass(frozen=True, slots=True)
class AllOf:
    filters: tuple[AccessLogFilter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    filters: tuple[AccessLogFilter, ...]


@dataclass(frozen=True, slots=True)
class RequestHeader:
    matcher: HeaderMatcher


@dataclass(frozen=True, slots=True)
class ResponseFlags:
    """One of them; without any, any flag at all."""

    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class GrpcStatus:
    statuses: frozenset[int]
    exclude: bool


@dataclass(frozen=True, slots=True)
class DynamicMetadata:
    """matcher None: nothing is asked for."""

    matcher: MetadataMatcher | None
    if_missing: bool


@dataclass(frozen=True, slots=True)
class LogType:
    types: frozenset[str]
    exclude: bool


AccessLogFilter = (
    Comparison | NotHealthCheck | Sampled | AllOf | AnyOf | RequestHeader | ResponseFlags
    | GrpcStatus | DynamicMetadata | LogType
)  # fmt: skip
