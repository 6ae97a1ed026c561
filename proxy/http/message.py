"""One model of a message for every HTTP version; the codecs translate at the edge.

A body is not part of it: it passes by in pieces. `length` says how it is framed.
"""

from __future__ import annotations

from proxy.http.headers import Headers

# The body ends when the connection does (RFC 9112 section 6.3): of some responses, and both ways of
# a tunnel (an upgrade, CONNECT).
UNTIL_CLOSE = -2
CHUNKED = -1  # unknown length; in HTTP/1.1 the body comes in chunks

REASONS: dict[int, bytes] = {
    100: b"Continue", 101: b"Switching Protocols", 200: b"OK", 201: b"Created", 202: b"Accepted",
    203: b"Non-Authoritative Information", 204: b"No Content", 205: b"Reset Content",
    206: b"Partial Content", 207: b"Multi-Status", 208: b"Already Reported", 226: b"IM Used",
    300: b"Multiple Choices", 301: b"Moved Permanently", 302: b"Found", 303: b"See Other",
    304: b"Not Modified", 305: b"Use Proxy", 307: b"Temporary Redirect",
    308: b"Permanent Redirect", 400: b"Bad Request", 401: b"Unauthorized",
    402: b"Payment Required", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed",
    406: b"Not Acceptable", 407: b"Proxy Authentication Required", 408: b"Request Timeout",
    409: b"Conflict", 410: b"Gone", 411: b"Length Required", 412: b"Precondition Failed",
    413: b"Payload Too Large", 414: b"URI Too Long", 415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable", 417: b"Expectation Failed", 421: b"Misdirected Request",
    422: b"Unprocessable Entity", 423: b"Locked", 424: b"Failed Dependency",
    426: b"Upgrade Required", 428: b"Precondition Required", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable",
    504: b"Gateway Timeout", 505: b"HTTP Version Not Supported", 506: b"Variant Also Negotiates",
    507: b"Insufficient Storage", 508: b"Loop Detected", 510: b"Not Extended",
    511: b"Network Authentication Required",
}  # fmt: skip


def reason(status: int) -> bytes:
    """The standard phrase; 'Unknown' where there is none, as Envoy writes."""
    return REASONS.get(status, b"Unknown")


class Request:
    """A request head. `path` is the target in origin form with its query; `authority` is the host
    header or the pseudo-header, and the block does not hold it. length: see the constants.

    upgrade: the protocol that it asks to change to, b'' for none; an extended CONNECT (RFC 8441) is
    method GET with it. odd: the connection manager must decide on its target, host or upgrade."""

    # What few requests have stands in the class until it is set.
    __slots__ = (
        "__dict__", "authority", "headers", "length", "method", "path", "scheme", "version"
    )  # fmt: skip
    method: bytes
    path: bytes
    authority: bytes
    headers: Headers
    length: int
    version: bytes
    scheme: bytes
    upgrade: bytes = b""
    odd: bool = False

    def __init__(
        self,
        method: bytes,
        path: bytes,
        authority: bytes,
        headers: Headers,
        length: int = 0,
        version: bytes = b"HTTP/1.1",
        scheme: bytes = b"http",
    ) -> None:
        self.method = method
        self.path = path
        self.authority = authority
        self.headers = headers
        self.length = length
        self.version = version
        self.scheme = scheme

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.path!r}, {self.authority!r}, {self.headers!r})"


class Response:
    """A response head. length: bytes of the body, or CHUNKED or UNTIL_CLOSE. upgrade: the protocol
    that a 101 changes to."""

    __slots__ = ("__dict__", "headers", "length", "status")
    upgrade: bytes = b""

    def __init__(self, status: int, headers: Headers, length: int = 0) -> None:
        self.status = status
        self.headers = headers
        self.length = length

    def __repr__(self) -> str:
        return f"Response({self.status}, {self.headers!r}, length={self.length})"
