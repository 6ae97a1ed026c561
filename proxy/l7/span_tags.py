"""What a span says of a request: Envoy's names and values of its tags.

Reads an ended stream; knows neither who decided on the span nor who is told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from proxy.config.model import tracing as model
from proxy.http.message import Request
from proxy.l7 import grpc_status
from proxy.l7.facts import wall_time
from proxy.l7.format import compile_header_value
from proxy.l7.message_operators import ORIGINAL_PATH
from proxy.l7.structured import as_text
from proxy.l7.timing import POINTS
from proxy.l7.upstream_facts import cluster

if TYPE_CHECKING:
    from proxy.l7.stream import Stream
    from proxy.tracing.span import Span

CLIENT_TRACE_ID = b"x-client-trace-id"
# gRPC's semantic conventions: what a server is to blame for; Envoy's `error` has one more.
_OF_SERVER = frozenset({2, 4, 12, 13, 14, 15})
_ERRORS = _OF_SERVER | {8}
_GRPC: tuple[tuple[str, Callable[[Request], bytes | None]], ...] = (
    ("grpc.path", lambda request: request.path),
    ("grpc.authority", lambda request: request.authority),
    ("grpc.content_type", lambda request: request.headers.get(b"content-type")),
    ("grpc.timeout", lambda request: request.headers.get(b"grpc-timeout")),
)
_EVENTS = (
    ("last_downstream_rx_byte_received", "DS_RX_END"),
    ("first_upstream_tx_byte_sent", "US_TX_BEG"),
    ("last_upstream_tx_byte_sent", "US_TX_END"),
    ("first_upstream_rx_byte_received", "US_RX_BEG"),
    ("last_upstream_rx_byte_received", "US_RX_END"),
    ("first_downstream_tx_byte_sent", "DS_TX_BEG"),
    ("last_downstream_tx_byte_sent", "DS_TX_END"),
)
Custom = Callable[["Stream"], str]
"""'' leaves the tag out."""


def of_request(span: Span, stream: Stream, max_path_bytes: int) -> None:
    request, tags = stream.request, span.tags
    headers = request.headers
    if (request_id := headers.get(b"x-request-id")) is not None:
        tags["guid:x-request-id"] = _text(request_id)
    path = (headers.get(ORIGINAL_PATH) or request.path)[:max_path_bytes]
    tags["http.url"] = _text(b"%b://%b%b" % (request.scheme, request.authority, path))
    tags["http.method"] = _text(request.method)
    tags["downstream_cluster"] = _text(headers.get(b"x-envoy-downstream-service-cluster") or b"-")
    tags["user_agent"] = _text(headers.get(b"user-agent") or b"-")
    tags["http.protocol"] = _text(request.version)
    tags["peer.address"] = stream.info.remote[0]
    if (trace_id := headers.get(CLIENT_TRACE_ID)) is not None:
        tags["guid:x-client-trace-id"] = _text(trace_id)
    if grpc_status.is_grpc(headers):
        told = ((name, of(request)) for name, of in _GRPC)
        tags.update({name: _text(value) for name, value in told if value})
    tags["request_size"] = str(stream.body_received)
    tags["response_size"] = str(stream.bytes_sent)


def of_outcome(span: Span, stream: Stream) -> None:
    """Also whether it failed: to a client 4xx is its own fault, to who asked it is failure."""
    tags, status = span.tags, stream.status
    of_cluster(span, stream)
    tags["http.status_code"] = str(status)
    tags["response_flags"] = stream.flags or "-"
    if not status or status >= 500:
        tags["error"] = "true"
    if status >= 500 or (status >= 400 and span.kind == "CLIENT"):
        span.failed = True
    told = grpc_status.told_status(stream)
    if told is not None:
        of_grpc(span, stream, told)


def of_cluster(span: Span, stream: Stream) -> None:
    tags = span.tags
    tags["component"] = "proxy"
    found = cluster(stream)
    if found is not None:
        tags["upstream_cluster"] = found.name
        tags["upstream_cluster.name"] = found.config.alt_stat_name or found.name


def of_grpc(span: Span, stream: Stream, status: int) -> None:
    span.tags["grpc.status_code"] = str(status)
    message = _told(stream, b"grpc-message")
    if message:
        span.tags["grpc.message"] = _text(message)
    if status in _ERRORS:
        span.tags["error"] = "true"
    span.failed = bool(status) if span.kind == "CLIENT" else status in _OF_SERVER


def _told(stream: Stream, name: bytes) -> bytes | None:
    trailers, response = stream.response_trailers, stream.response
    value = trailers.get(name) if trailers is not None else None
    return response.headers.get(name) if value is None and response is not None else value


def events(span: Span, stream: Stream, points: Container[str] = POINTS) -> None:
    """`verbose`: when it came to what."""
    for name, point in _EVENTS:
        if point in points and (when := POINTS[point](stream)):
            span.events.append((wall_time(when), name))


# --------------------------------------------------------------------------- custom tags


def compile_tags(tags: Iterable[model.CustomTag]) -> Mapping[str, Custom]:
    return {tag.tag: _compile(tag) for tag in tags}


def _compile(tag: model.CustomTag) -> Custom:
    if isinstance(tag, model.LiteralTag):
        value = tag.value
        return lambda _: value
    if isinstance(tag, model.HeaderTag):
        return _header(tag.name.encode(), tag.default)
    if isinstance(tag, model.MetadataTag):
        return _metadata(tag)
    line = compile_header_value(tag.format)
    return lambda stream: _text(line(stream))


def _header(name: bytes, default: str) -> Custom:
    def value(stream: Stream) -> str:
        found = stream.request.headers.get(name)
        return default if found is None else _text(found)

    return value


def _metadata(tag: model.MetadataTag) -> Custom:
    of, path, default = _METADATA[tag.of], tag.path, tag.default

    def value(stream: Stream) -> str:
        found: Any = of(stream)
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return default if found is None else as_text(found)

    return value


_METADATA: Mapping[str, Callable[[Stream], Any]] = {
    "request": lambda stream: stream.metadata,
    "route": lambda stream: None if stream.route is None else stream.route.metadata,
    "cluster": lambda stream: None if stream.cluster is None else stream.cluster.config.metadata,
    "host": lambda stream: None if stream.host is None else stream.host.metadata,
}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
