"""Answers of our own, as they go out: Envoy's local replies.

The route's header mutations come first, then the mapper of `local_reply_config`, then what says
how long the body is and of which kind. To a gRPC client the status and body are told by gRPC's own
headers, in an answer without a body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.filters.api import Reply
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.route.matching import is_grpc

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

Mapper = Callable[["Stream", Response, Reply], Reply]
"""What `local_reply_config` makes of a reply; it may edit the response's headers."""

CONTENT_TYPE = b"content-type"
CONTENT_LENGTH = b"content-length"
BODILESS = (204, 304)
BAD_REQUEST = 400
# gRPC, "HTTP to gRPC Status Code Mapping", as Envoy has it.
_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN = 2


def answer(stream: Stream, reply: Reply) -> tuple[Response, bytes]:
    """`reply` as a message, with its body."""
    route = stream.route
    response = Response(reply.status, Headers())
    stream.response = response
    itself = route is not None and route.answer is not None
    if itself:  # a redirect's location is there to be edited
        _add(response.headers, reply)
    if route is not None and route.edit_response is not None:
        route.edit_response(stream, response)
    if not itself:
        _add(response.headers, reply)
    body = reply.body
    mapper = stream.manager.local_replies
    kind = response.headers.get(CONTENT_TYPE)
    if mapper is not None:
        reply = mapper(stream, response, reply)
    response.status = reply.status
    keeps = stream.manager.config.stream_error
    if reply.status == BAD_REQUEST and stream.down.protocol == "http1" and not keeps:
        stream.down.close_after(stream)  # who sent this may have lost its way (Envoy)
    if is_grpc(stream.request):
        _grpc(response, reply)
        if stream.down.protocol == "http1":
            response.headers.set(CONTENT_LENGTH, b"0")
        return response, b""
    changed = reply.body != body and response.headers.get(CONTENT_TYPE) == kind
    return response, _body(response, reply, changed, stream.down.protocol == "http1")


def _add(headers: Headers, reply: Reply) -> None:
    for name, value in reply.headers:
        headers.add(name, value)


def _body(response: Response, reply: Reply, changed: bool, says_nothing: bool) -> bytes:
    """changed: the mapper has made another body, whose kind it knows. says_nothing: an empty body
    needs a word; in HTTP/2 the end of the stream is one."""
    headers = response.headers
    body = b"" if reply.status in BODILESS else reply.body
    if not body:
        headers.remove(CONTENT_TYPE)
    elif changed or CONTENT_TYPE not in headers:
        headers.set(CONTENT_TYPE, reply.content_type)
    if reply.status not in BODILESS and (body or says_nothing):
        headers.set(CONTENT_LENGTH, b"%d" % len(body))
    response.length = len(body)
    return body


def _grpc(response: Response, reply: Reply) -> None:
    """A trailers-only answer."""
    headers = response.headers
    headers.set(CONTENT_TYPE, b"application/grpc")
    if b"grpc-status" not in headers:
        told = reply.grpc_status
        status = _GRPC_STATUS.get(reply.status, _UNKNOWN) if told is None else told
        headers.set(b"grpc-status", b"%d" % status)
    if reply.body:
        headers.set(b"grpc-message", percent_encoded(reply.body))
    response.status = 200
    response.length = 0


def percent_encoded(text: bytes) -> bytes:
    """gRPC over HTTP/2, "Status-Message"."""
    if text.isascii() and text.decode().isprintable() and b"%" not in text:
        return text
    return b"".join(
        [bytes((c,)) if 0x20 <= c < 0x7F and c != 0x25 else b"%%%02X" % c for c in text]
    )
