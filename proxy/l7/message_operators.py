"""Operators of a format string that speak of a message: its headers, trailers, path and query.

`OPERATORS` has a builder of closures for each, by Envoy's name; `operators` joins them with others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from proxy.http.format_string import Operator
from proxy.l7.getters import Getter, Read, Style, Value, of_bytes

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

# Lists that Envoy keeps as one value; of any other repeated header it logs the first.
JOINED = frozenset(
    (b"accept", b"accept-encoding", b"cache-control", b"te", b"via", b"x-forwarded-client-cert",
     b"x-forwarded-for", b"x-forwarded-host")
)  # fmt: skip
ORIGINAL_PATH = b"x-envoy-original-path"


# ---------------------------------------------------------------------------- headers


def request_value(name: str) -> Read:
    """Of a header; `host` is the authority (RFC 9113 section 8.3.1)."""
    key = name.lower().encode()
    if (pseudo := PSEUDO.get(key)) is not None:
        return pseudo
    if key in JOINED:
        return lambda stream: stream.request.headers.joined(key)
    return lambda stream: stream.request.headers.get(key)


def _response_value(name: str) -> Read:
    key = name.lower().encode()
    if key == b":status":
        return lambda stream: b"%d" % stream.status if stream.status else None
    if key in JOINED:
        return lambda stream: r.headers.joined(key) if (r := stream.response) else None
    return lambda stream: r.headers.get(key) if (r := stream.response) else None


def _trailer_value(name: str) -> Read:
    key = name.lower().encode()
    return lambda stream: t.joined(key) if (t := stream.response_trailers) is not None else None


def _original_path(stream: Logged) -> bytes | None:
    """What the client asked for, if the route has rewritten it."""
    return stream.request.headers.get(ORIGINAL_PATH)


PSEUDO: Mapping[bytes, Read] = {
    b":method": lambda stream: stream.request.method or None,
    b":path": lambda stream: stream.request.path or None,
    b":authority": lambda stream: stream.request.authority or None,
    b"host": lambda stream: stream.request.authority or None,
    b":scheme": lambda stream: stream.request.scheme,
    ORIGINAL_PATH: _original_path,
}


def _one_header(key: bytes, style: Style) -> Getter:
    """The most common operator, in as few calls as can be."""
    missing, decode = style.missing, style.decode

    def get(stream: Logged) -> Value:
        headers = stream.request.headers
        at = headers.shape.index.get(key)
        return missing if at is None else decode(headers.values[at])

    return get


def _one_answer_header(key: bytes, style: Style) -> Getter:
    missing, decode = style.missing, style.decode

    def get(stream: Logged) -> Value:
        response = stream.response
        at = None if response is None else response.headers.shape.index.get(key)
        return missing if response is None or at is None else decode(response.headers.values[at])

    return get


def _request_header(operator: Operator, style: Style) -> Getter:
    key = operator.arg.lower().encode()
    if not operator.alt and operator.max_length is None and key not in {*PSEUDO, *JOINED}:
        return _one_header(key, style)
    other = request_value(operator.alt) if operator.alt else None
    return of_bytes(request_value(operator.arg), operator, style, other)


def _request_header_without_query(operator: Operator, style: Style) -> Getter:
    other = _without_query(request_value(operator.alt)) if operator.alt else None
    return of_bytes(_without_query(request_value(operator.arg)), operator, style, other)


def _response_header(operator: Operator, style: Style) -> Getter:
    key = operator.arg.lower().encode()
    if not operator.alt and operator.max_length is None and key not in {b":status", *JOINED}:
        return _one_answer_header(key, style)
    other = _response_value(operator.alt) if operator.alt else None
    return of_bytes(_response_value(operator.arg), operator, style, other)


def _response_trailer(operator: Operator, style: Style) -> Getter:
    other = _trailer_value(operator.alt) if operator.alt else None
    return of_bytes(_trailer_value(operator.arg), operator, style, other)


def _stream_id(operator: Operator, style: Style) -> Getter:
    """Envoy's default request id extension makes the two the same."""
    return of_bytes(request_value("x-request-id"), operator, style)


# ---------------------------------------------------------------------------- path and query


def _path(operator: Operator, style: Style) -> Getter:
    path = PSEUDO[b":path"]
    read = {"ORIG": _original_path, "PATH": path}.get(operator.alt, _original_path)
    other = path if operator.alt in ("", "ORIG_OR_PATH") else None
    if operator.arg != "NQ":
        return of_bytes(read, operator, style, other)
    return of_bytes(_without_query(read), operator, style, _without_query(other) if other else None)


def _without_query(read: Read) -> Read:
    return lambda stream: None if (path := read(stream)) is None else path.partition(b"?")[0]


def _query_params(operator: Operator, style: Style) -> Getter:
    decoded = operator.arg == "DECODED"

    def read(stream: Logged) -> bytes | None:
        query = stream.request.path.partition(b"?")[2]
        return (unquote_to_bytes(query) if decoded else query) or None

    return of_bytes(read, operator, style)


def _query_param(operator: Operator, style: Style) -> Getter:
    wanted = operator.arg.encode()

    def read(stream: Logged) -> bytes | None:
        for pair in stream.request.path.partition(b"?")[2].split(b"&"):
            name, _, value = pair.partition(b"=")
            if unquote_to_bytes(name) == wanted:
                return unquote_to_bytes(value)
        return None

    return of_bytes(read, operator, style)


OPERATORS: Mapping[str, Callable[[Operator, Style], Getter]] = {
    "PATH": _path,
    "QUERY_PARAM": _query_param,
    "QUERY_PARAMS": _query_params,
    "REQ": _request_header,
    "REQ_WITHOUT_QUERY": _request_header_without_query,
    "RESP": _response_header,
    "STREAM_ID": _stream_id,
    "TRAILER": _response_trailer,
}
