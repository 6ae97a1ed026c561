"""What proxies log of the streams that have ended, and to where."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from controlplane.mesh.http_rules import StringMatch
from controlplane.mesh.metering import NOT_METERED, Metered
from controlplane.mesh.scopes import Scope
from controlplane.mesh.tracing import NOT_TRACED, Traces
from protos.frozen import frozen


@frozen
class Compared:
    """A number of a stream: its status code (0: it has none), or the milliseconds it took."""

    of: Literal["status", "duration_ms"]
    op: Literal["EQ", "NE", "GE", "LE"]
    value: int


@frozen
class HeaderTest:
    """A header of the request. match None: it is there. inverted: the opposite, which is also true
    of a header that is not there."""

    name: str
    match: StringMatch | None = None
    inverted: bool = False


@frozen
class Every:
    """All of them; without any: always."""

    tests: tuple[LogTest, ...] = ()


@frozen
class Some:
    """One of them; without any: never."""

    tests: tuple[LogTest, ...] = ()


LogTest = Compared | HeaderTest | Every | Some
ALWAYS = Every()
NEVER = Some()

STDOUT = "/dev/stdout"
Encoding = Literal["TEXT", "JSON"]


@frozen
class LogService:
    """Who is told of streams over gRPC: as of requests or of connections (Envoy's
    AccessLogService), or of both in OpenTelemetry's words. filter_states: what of a stream's is
    told, by name; headers beside those that it is always told. text ('' is Istio's) and labels,
    in the order of their names: all that OpenTelemetry is told, with Envoy's operators."""

    kind: Literal["http", "tcp", "otel"]
    host: str
    port: int
    log_name: str
    filter_states: tuple[str, ...]
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()
    text: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@frozen
class AccessLog:
    """One line for each stream that `wanted` takes. format: text, or for JSON an object; '' is
    Istio's. Its operators are Envoy's. omits_empty: an operator without a value has none. service:
    who is told of it instead, without a line."""

    path: str = STDOUT
    encoding: Encoding = "TEXT"
    format: str = ""
    omits_empty: bool = False
    wanted: LogTest = ALWAYS
    service: LogService | None = None


@frozen
class Logs:
    """Of one workload: of what comes in (server) and of what it calls, or a gateway passes on; and
    what is counted beside, and told to collectors of spans."""

    client: tuple[AccessLog, ...] = (AccessLog(),)
    server: tuple[AccessLog, ...] = (AccessLog(),)
    metered: Metered = NOT_METERED
    traced: Traces = NOT_TRACED


@frozen
class ScopedLogs:
    scope: Scope
    logs: Logs = field(default_factory=Logs)
