"""Writes heads and chunks. A head is one formatting operation on a template kept per shape."""

from __future__ import annotations

import re

from proxy.http.headers import Headers, Shape, remember
from proxy.http.message import CHUNKED, Request, Response, reason

LAST_CHUNK = b"0\r\n\r\n"
MAX_TEMPLATES = 4096

# Methods whose requests mean nothing by having no body; others say `content-length: 0`.
NO_BODY = frozenset((b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"))

_requests: dict[Shape, bytes] = {}
_empty_requests: dict[Shape, bytes] = {}
_chunked_requests: dict[Shape, bytes] = {}
_responses: dict[tuple[Shape, int, bytes], bytes] = {}


def request_head(request: Request) -> bytes:
    """The head with its host; a body of unknown length will be chunked."""
    headers = request.headers
    shape = headers.shape
    if request.length == CHUNKED:
        table = _chunked_requests
    elif request.length == 0 and request.method not in NO_BODY:
        table = _empty_requests
    else:
        table = _requests
    template = table.get(shape)
    if template is None:
        framing = b""
        if table is _chunked_requests:
            framing = b"transfer-encoding: chunked\r\n"
        elif table is _empty_requests and b"content-length" not in shape.index:
            framing = b"content-length: 0\r\n"
        template = b"%%b %%b HTTP/1.1\r\nhost: %%b\r\n%b%b\r\n" % (shape.template, framing)
        remember(table, shape, shape, template, MAX_TEMPLATES)
    return template % (request.method, request.path, request.authority, *headers.values)


def proper_request_head(request: Request) -> bytes:
    return proper_case(request_head(request))


def tunnel_head(request: Request) -> bytes:
    """The head of CONNECT or of a request for an upgrade: no framing, as no message follows."""
    headers = request.headers
    line = b"%b %b HTTP/1.1\r\n" % (
        request.method,
        request.authority if request.method == b"CONNECT" else request.path,
    )
    host = b"host: %b\r\n" % request.authority
    return b"%b%b%b%b\r\n" % (
        line,
        host,
        headers.shape.template % headers.values,
        upgrade_lines(request.upgrade),
    )


def upgrade_lines(upgrade: bytes) -> bytes:
    return b"connection: upgrade\r\nupgrade: %b\r\n" % upgrade if upgrade else b""


def response_head(response: Response, trailer: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    """The head; `trailer` is further header lines (`connection: close`, framing)."""
    headers = response.headers
    key = (headers.shape, response.status, trailer)
    template = _responses.get(key)
    if template is None:
        template = b"%%b %d %b\r\n%b%b\r\n" % (
            response.status,
            reason(response.status),
            headers.shape.template,
            trailer,
        )
        remember(_responses, key, headers.shape, template, MAX_TEMPLATES)
    return template % (version, *headers.values)


def proper_response_head(
    response: Response, trailer: bytes = b"", version: bytes = b"HTTP/1.1"
) -> bytes:
    return proper_case(response_head(response, trailer, version))


def chunk(data: bytes) -> bytes:
    """`data` as one chunk (RFC 9112 section 7.1); empty data is no chunk: that would end it."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def proper_case(head: bytes) -> bytes:
    """The head with its header names spelled `Like-This` (Envoy's `proper_case_words`)."""
    return _names(_capitalized, head)


def _capitalized(found: re.Match[bytes]) -> bytes:
    return b"\r\n" + _words(lambda word: word[0].upper(), found[1]) + b":"


_names = re.compile(rb"\r\n([^:\r\n]+):").sub
# A letter at the beginning or behind what is neither letter nor digit.
_words = re.compile(rb"(?<![A-Za-z0-9])[a-z]").sub


def last_chunk(trailers: Headers | None) -> bytes:
    """The end of a chunked body with its trailers (RFC 9112 section 7.1.2)."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n%b\r\n" % (trailers.shape.template % trailers.values)
