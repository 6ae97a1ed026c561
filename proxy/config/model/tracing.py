"""Spans: of which requests they are made, what they say, and who is told of them."""

from __future__ import annotations

from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import FractionalPercent
from proxy.config.model.services import GrpcService, HttpUri

ALWAYS = FractionalPercent(100, 100)


@frozen
class Sampling:
    """Of requests that ask for a trace (`x-client-trace-id`), of the others, and of both."""

    client: FractionalPercent = ALWAYS
    random: FractionalPercent = ALWAYS
    overall: FractionalPercent = ALWAYS


@frozen
class LiteralTag:
    """Also of an environment variable: those do not change while a proxy runs."""

    tag: str
    value: str


@frozen
class HeaderTag:
    """default: where there is no such header; '' leaves the tag out."""

    tag: str
    name: str
    default: str = ""


@frozen
class MetadataTag:
    tag: str
    of: Literal["request", "route", "cluster", "host"]
    path: tuple[str, ...]
    default: str = ""


@frozen
class FormatTag:
    tag: str
    format: str


CustomTag = LiteralTag | HeaderTag | MetadataTag | FormatTag


@frozen
class RouteTracing:
    """`Route.tracing`. operation, upstream_operation: format strings for the names of spans, of
    the request and of an attempt, '' where nothing is said."""

    sampling: Sampling = Sampling()
    tags: tuple[CustomTag, ...] = ()
    operation: str = ""
    upstream_operation: str = ""


@frozen
class Decorator:
    """`Route.decorator`. propagate: the other side of the connection hears of it."""

    operation: str
    propagate: bool = True


@frozen
class HttpService:
    """`HttpService`: where spans are posted to. headers: set on each, names in lower case."""

    uri: HttpUri
    headers: tuple[tuple[str, str], ...] = ()


Sampler = Literal["", "always_on", "parent_based", "trace_id_ratio"]


@frozen
class OpenTelemetryConfig:
    """One of grpc and http is set. resource: its attributes. max_spans: that wait to be sent.
    ratio: the share of traces that are sampled, by their ids; with parent_based of those that begin
    here."""

    grpc: GrpcService | None = None
    http: HttpService | None = None
    service_name: str = "unknown_service:envoy"
    resource: tuple[tuple[str, str], ...] = ()
    sampler: Sampler = ""
    max_spans: int = 1024
    ratio: FractionalPercent | None = None


@frozen
class ZipkinConfig:
    """hostname: '' is the cluster's name. long_ids: traces have 128 bits. shares: a server's span
    is the client's. w3c: `traceparent` is read and written beside B3."""

    cluster: str
    path: str
    hostname: str = ""
    long_ids: bool = False
    shares: bool = True
    w3c: bool = False


Provider = OpenTelemetryConfig | ZipkinConfig


@frozen
class ManagerTracing:
    """`HttpConnectionManager.Tracing`. by_id: the request id decides by chance
    (`UuidRequestIdConfig`). provider: None decides without making spans.
    max_path_bytes: of a path in `http.url`. spawns: each attempt has a span of its own."""

    sampling: Sampling = Sampling()
    tags: tuple[CustomTag, ...] = ()
    operation: str = ""
    upstream_operation: str = ""
    max_path_bytes: int = 256
    verbose: bool = False
    spawns: bool = False
    by_id: bool = True
    provider: Provider | None = None
