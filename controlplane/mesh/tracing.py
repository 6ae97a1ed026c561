"""Which requests proxies make spans of, what these say, and who is told."""

from __future__ import annotations

from typing import Literal

from controlplane.mesh.scopes import Scope
from protos.frozen import frozen

TagKind = Literal["literal", "environment", "header", "formatter"]
ServiceName = Literal[
    "APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"
]


@frozen
class TraceTag:
    """value: the text itself, the name of a variable or a header, or a format of Envoy's.
    default: where there is no such variable or header."""

    name: str
    kind: TagKind
    value: str
    default: str = ""


@frozen
class Collector:
    """Who is told of spans: a service, over OTLP or as Zipkin is. path: '' is OTLP over gRPC.
    headers: set on each request. timeout_s None: the proxy's own. detects: resource attributes are
    taken from the environment, too. max_path 0: nothing is said. Of Zipkin: long_ids: traces have
    128 bits; w3c: `traceparent` goes on beside B3."""

    host: str
    port: int
    path: str = ""
    timeout_s: float | None = None
    headers: tuple[tuple[str, str], ...] = ()
    detects: bool = False
    max_path: int = 0
    zipkin: bool = False
    long_ids: bool = True
    w3c: bool = False


@frozen
class Spans:
    """Of one direction. percent: of requests that nobody has decided on. by_id: request ids decide
    by chance. tells_workload: with Istio's tags of the workload. max_path: bytes of a path, 0 is
    the proxy's own limit."""

    collector: Collector
    percent: float = 1.0
    tags: tuple[TraceTag, ...] = ()
    tells_workload: bool = True
    by_id: bool = True
    max_path: int = 0


@frozen
class Who:
    """The workload, in spans. service_name: of the resource that tells them."""

    service_name: str = ""
    service: str = ""
    revision: str = ""
    namespace: str = ""
    mesh_id: str = ""


@frozen
class Traces:
    """Of one workload: of what it calls, or a gateway passes on (client), and of what comes in
    (server); None where there are no spans. naming: Istio's tracingServiceName."""

    client: Spans | None = None
    server: Spans | None = None
    naming: ServiceName = "APP_LABEL_AND_NAMESPACE"
    who: Who = Who()


NOT_TRACED = Traces()


@frozen
class ScopedTraces:
    scope: Scope
    traces: Traces
