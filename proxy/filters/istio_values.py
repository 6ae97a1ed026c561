"""What users' tags of metrics say: an attribute of a request, by its name in CEL.

An attribute that is not there is `unknown`, as with Istio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from proxy.config.model.istio import UNKNOWN, Expression
from proxy.connection import ConnectionInfo
from proxy.filters.api import ClusterView, FilterContext, FilterStream
from proxy.http.headers import Headers

MAX_CHARACTERS = 256
Value = Callable[[FilterStream], str]


class Client(Protocol):
    @property
    def info(self) -> ConnectionInfo: ...


class Connection(Protocol):
    """A TCP connection."""

    @property
    def down(self) -> Client: ...
    @property
    def cluster(self) -> ClusterView | None: ...
    @property
    def flags(self) -> str: ...


class Speaker(Protocol):
    """The node that this proxy is."""

    @property
    def id(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


def of_requests(expression: Expression, context: FilterContext) -> Value:
    """At the end of a request."""
    said = _constant(expression, context.node_id, context.node_metadata)
    if said is not None:
        return _always(said)
    if expression.attribute == "request.headers":
        return _asked(expression.key.lower().encode("latin-1", "replace"))
    if expression.attribute == "response.headers":
        return _answered(expression.key.lower().encode("latin-1", "replace"))
    if expression.attribute in OF_CONNECTIONS:
        return _known(_of_info(OF_CONNECTIONS[expression.attribute]))
    return _known(VALUES[expression.attribute])


def of_connection(expression: Expression, record: Connection, node: Speaker) -> str:
    """At the beginning of a TCP connection, which knows of no request."""
    said = _constant(expression, node.id, node.metadata)
    if said is not None:
        return said
    found = ""
    if expression.attribute in OF_CONNECTIONS:
        found = OF_CONNECTIONS[expression.attribute](record.down.info)
    elif expression.attribute == "xds.cluster_name" and record.cluster is not None:
        found = record.cluster.name
    elif expression.attribute == "response.flags":
        found = record.flags or "-"
    return found[:MAX_CHARACTERS] or UNKNOWN


def _of_info(of: Callable[[ConnectionInfo], str]) -> Value:
    return lambda stream: of(stream.info)


def _constant(expression: Expression, node: str, metadata: Mapping[str, Any]) -> str | None:
    """What is the same for all requests."""
    if not expression.attribute:
        return expression.literal
    if expression.attribute == "node.id":
        return node
    if expression.attribute == "node.metadata":
        value = metadata.get(expression.key)
        return value if isinstance(value, str) else UNKNOWN
    return None


def _always(text: str) -> Value:
    return lambda stream: text


def _known(of: Value) -> Value:
    def value(stream: FilterStream) -> str:
        return of(stream)[:MAX_CHARACTERS] or UNKNOWN

    return value


def _text(found: bytes | None) -> str:
    return UNKNOWN if found is None else found.decode("utf-8", "replace")[:MAX_CHARACTERS]


def _asked(name: bytes) -> Value:
    return lambda stream: _text(stream.request.headers.get(name))


def _answered(name: bytes) -> Value:
    def value(stream: FilterStream) -> str:
        return UNKNOWN if stream.response is None else _text(stream.response.headers.get(name))

    return value


def _header(name: bytes) -> Value:
    return lambda stream: (stream.request.headers.get(name) or b"").decode("utf-8", "replace")


def _host(stream: FilterStream) -> str:
    return stream.request.authority.decode("latin-1")


def _method(stream: FilterStream) -> str:
    return stream.request.method.decode("latin-1")


def _path(stream: FilterStream) -> str:
    return stream.request.path.decode("utf-8", "replace")


def _url_path(stream: FilterStream) -> str:
    return _path(stream).partition("?")[0]


def _scheme(stream: FilterStream) -> str:
    return stream.request.scheme.decode("latin-1")


def _protocol(stream: FilterStream) -> str:
    return stream.request.version.decode("latin-1")


def _code(stream: FilterStream) -> str:
    return str(stream.status) if stream.status else ""


def _grpc_status(stream: FilterStream) -> str:
    for headers in (stream.response_trailers, stream.response and stream.response.headers):
        if isinstance(headers, Headers) and (found := headers.get(b"grpc-status")) is not None:
            return found.decode("latin-1")
    return ""


def _flags(stream: FilterStream) -> str:
    return stream.flags or "-"


def _details(stream: FilterStream) -> str:
    return stream.detail


def _mtls(info: ConnectionInfo) -> str:
    return "true" if info.peer is not None else "false"


def _server_name(info: ConnectionInfo) -> str:
    return info.sni


def _tls_version(info: ConnectionInfo) -> str:
    return info.tls_version


def _port(info: ConnectionInfo) -> str:
    return str(info.local[1])


def _address(of: tuple[str, int]) -> str:
    return f"[{of[0]}]:{of[1]}" if ":" in of[0] else f"{of[0]}:{of[1]}"


def _source(info: ConnectionInfo) -> str:
    return _address(info.remote)


def _destination(info: ConnectionInfo) -> str:
    return _address(info.local)


def _cluster(stream: FilterStream) -> str:
    return "" if stream.cluster is None else stream.cluster.name


def _route(stream: FilterStream) -> str:
    return "" if stream.route is None else stream.route.name


VALUES: Mapping[str, Value] = {
    "request.host": _host,
    "request.method": _method,
    "request.path": _path,
    "request.url_path": _url_path,
    "request.scheme": _scheme,
    "request.protocol": _protocol,
    "request.useragent": _header(b"user-agent"),
    "request.referer": _header(b"referer"),
    "request.id": _header(b"x-request-id"),
    "response.code": _code,
    "response.grpc_status": _grpc_status,
    "response.flags": _flags,
    "response.code_details": _details,
    "xds.cluster_name": _cluster,
    "xds.route_name": _route,
}

OF_CONNECTIONS: Mapping[str, Callable[[ConnectionInfo], str]] = {
    "connection.mtls": _mtls,
    "connection.requested_server_name": _server_name,
    "connection.tls_version": _tls_version,
    "destination.port": _port,
    "source.address": _source,
    "destination.address": _destination,
}
"""The client's connection, also where it has no requests."""
