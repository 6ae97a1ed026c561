"""Reads requests and responses off one HTTP/1 connection each.

`RequestReader` stops after each request (`_after` keeps what was pipelined) until `next_message` is
called, since answers must leave in order. `ResponseReader` must be told which method each response
answers. Both know the last shape they saw and read a head of the same names with one regular
expression; any other head goes through the whole grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.http.errors import Malformed
from proxy.http.h1.body import BodyReader, BodySink
from proxy.http.h1.framing import (
    request_length,
    response_length,
    sanitize_connection,
    sized,
)
from proxy.http.h1.grammar import (
    alien_version_match,
    request_match,
    split_fields,
    status_match,
)
from proxy.http.h1.plan import KEEP_ALIVE, Plan, request_plans, response_plans
from proxy.http.h1.target import absolute_form, check_authority, known_authorities
from proxy.http.headers import Headers, shape_of
from proxy.http.message import CHUNKED, UNTIL_CLOSE, Request, Response

BODILESS = (204, 304)
MAX_INFORMATIONAL = 32
TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_request_headers_kb` and `max_headers_count`; pipelined: bytes kept of later requests."""

    head_bytes: int = 60 * 1024
    headers: int = 100
    pipelined_bytes: int = 64 * 1024
    http_10: bool = False
    default_host: bytes = b""


class RequestSink(BodySink, Protocol):
    def on_request(self, request: Request, data: bytes, end: bool) -> None: ...


class ResponseSink(BodySink, Protocol):
    def on_response(self, response: Response, data: bytes, end: bool) -> None: ...
    def on_informational(self, status: int) -> None: ...


class _HeadReader(BodyReader):
    """What both readers do with a head that comes in pieces."""

    __slots__ = ()

    def _gathered(self, data: bytes) -> bytes:
        """All of the head so far once its end is here, b'' before. Looks at the new tail only."""
        data, seen = self._buffer + data, len(self._buffer)
        if data.find(b"\r\n\r\n", max(0, seen - 3)) < 0:
            self._partial(data, seen)
            return b""
        self._buffer = b""
        return data

    def _partial(self, data: bytes, seen: int) -> None:
        raise NotImplementedError


class RequestReader(_HeadReader):
    """Calls `sink.on_request(request, data, end)`: data is what of the body came with the head,
    end says that it is all; else `on_data` and `on_end` follow.

    keep_alive: may the connection be used again after this request. expects_continue: the client
    waits for 100 (RFC 9110 section 10.1.1). upgrade: the protocol it asks for, or b''. odd: there
    is something about the target or the host that the connection manager must decide on."""

    __slots__ = (
        "_limits",
        "_plan",
        "_requests",
        "expects_continue",
        "keep_alive",
        "odd",
        "upgrade",
    )

    def __init__(self, sink: RequestSink, limits: Limits) -> None:
        super().__init__(sink)
        self._requests = sink
        self._limits = limits
        self._plan: Plan | None = None
        self.keep_alive = True
        self.expects_continue = False
        self.upgrade = b""
        self.odd = False

    @property
    def idle(self) -> bool:
        """Between two messages, with not a byte of the next one read."""
        return not self._buffer and self.feed == self._head

    @property
    def overfull(self) -> bool:
        """More was pipelined than is kept: stop reading until the answer has left."""
        return len(self._buffer) > self._limits.pipelined_bytes

    def rearm(self) -> bool:
        """The answer has left: the next request may come. True: there is something of it here
        already, and `next_message` will read it."""
        self.feed = self._head
        return self._buffer != b""

    def next_message(self) -> None:
        """Rearms, and reads what is here already."""
        self.feed = self._head
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._head(data)

    def _after(self, data: bytes) -> None:
        self._buffer += data

    def _head(self, data: bytes) -> None:
        if self._buffer:
            data = self._gathered(data)
            if not data:
                return
        plan = self._plan
        found = plan.read(data, self._limits.head_bytes) if plan is not None else None
        if plan is None or found is None:
            self._slow(data)
            return
        groups, end = found
        values = groups[2:]
        authority = values[plan.host_at]
        if authority not in known_authorities:
            check_authority(authority)
        request = Request(groups[0], groups[1], authority, Headers(plan.rest, plan.pick(values)))
        at = plan.connection_at
        if plan.simple and (at < 0 or values[at] in KEEP_ALIVE):
            self.keep_alive = True
            self.expects_continue = self.odd = False
            self.upgrade = b""
            if plan.length_at >= 0:
                request.length = sized(values[plan.length_at])
        else:
            self.odd = False
            self._govern(request, Headers(plan.shape, values))
        self._deliver(request, b"" if end == len(data) else data[end:])

    def _slow(self, data: bytes) -> None:
        start = 0
        while data.startswith(b"\r\n", start):  # RFC 9112 section 2.2: empty lines before it
            start += 2
        data = data[start:]
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._partial(data, 0)
            return
        end += 4
        if end > self._limits.head_bytes:
            raise Malformed("http1.headers_too_large", 431)
        found = request_match(data)
        if found is None or found.end() != end:
            raise _diagnosed(data[:end])
        names, values = split_fields(found[4])
        if len(names) > self._limits.headers:
            raise Malformed("http1.too_many_headers", 431)
        shape = shape_of(names)
        plan = request_plans.plan(shape)
        self._plan = plan if shape.lasting else None
        block = Headers(plan.shape, values)
        request = Request(
            found[1], found[2], b"", Headers(plan.rest, plan.pick(values)), 0, b"HTTP/1." + found[3]
        )
        self._address(request, plan, values)
        self._govern(request, block)
        self._deliver(request, data[end:])

    def _partial(self, data: bytes, seen: int) -> None:
        """A head without its end; the first `seen` bytes were looked at before. What can't become
        a request is refused at once, not when the peer gives up."""
        if len(data) > self._limits.head_bytes:
            raise Malformed("http1.headers_too_large", 431)
        if data and data[0] not in TOKEN_BYTES and data[0] != 0x0D:
            raise Malformed("http1.codec_error")
        fresh = data[seen - 1 :] if seen and data[seen - 1] == 0x0D else data[seen:]
        if b"\n" in fresh.replace(b"\r\n", b"") or b"\x00" in fresh:
            raise Malformed("http1.codec_error")
        self._buffer = data

    def _address(self, request: Request, plan: Plan, values: tuple[bytes, ...]) -> None:
        """Target and host (RFC 9112 sections 3.2 and 3.3)."""
        if plan.hosts > 1:
            raise Malformed("http1.codec_error")
        if plan.hosts:
            request.authority = values[plan.host_at]
        old = request.version == b"HTTP/1.0"
        if old and not self._limits.http_10:
            raise Malformed("low_version", 426)
        path = request.path
        self.odd = path == b"*" or b"#" in path or request.method == b"CONNECT"
        if request.method == b"CONNECT":
            request.authority = path
        elif not path.startswith(b"/") and path != b"*":
            absolute_form(request)
        if not plan.hosts and not request.authority:
            if old:
                request.authority = self._limits.default_host
            self.odd = self.odd or not request.authority
        check_authority(request.authority)

    def _govern(self, request: Request, block: Headers) -> None:
        """Framing and what becomes of the connection, from headers that are not passed on."""
        request.length = request_length(request, block)
        connection = (block.joined(b"connection") or b"").lower()
        self.keep_alive = (
            b"keep-alive" in connection
            if request.version == b"HTTP/1.0"
            else b"close" not in connection
        )
        self.upgrade = b""
        if connection:
            if b"upgrade" in connection:
                self.upgrade = block.get(b"upgrade") or b""
                self.odd = self.odd or self.upgrade != b""
            sanitize_connection(request.headers, connection)
        if b"trailers" in (block.get(b"te") or b"").lower():
            request.headers.set(b"te", b"trailers")  # all of TE that may cross (Envoy)
        expect = block.get(b"expect")
        self.expects_continue = (
            expect is not None
            and expect.lower() == b"100-continue"
            and request.version != b"HTTP/1.0"
        )
        if self.expects_continue:
            request.headers.remove(b"expect")

    def _deliver(self, request: Request, rest: bytes) -> None:
        length = request.length
        if not length:
            self.feed = self._after
            self._buffer = rest
            self._requests.on_request(request, b"", True)
        elif 0 < length <= len(rest):
            self.feed = self._after
            self._buffer = rest[length:]
            self._requests.on_request(request, rest[:length], True)
        elif length > 0:
            self._left = length - len(rest)
            self.feed = self._sized
            self._requests.on_request(request, rest, False)
        else:
            self.feed = self._chunk_line
            self._requests.on_request(request, b"", False)
            if rest:
                self.feed(rest)


def _diagnosed(head: bytes) -> Malformed:
    """What is wrong with a head that the grammar refuses, in Envoy's words."""
    if alien_version_match(head) is not None:
        return Malformed("low_version", 426)
    if b"\x00" in head:
        return Malformed("http1.invalid_characters")
    return Malformed("http1.codec_error")


class ResponseReader(_HeadReader):
    """Calls `sink.on_response(response, data, end)`: data is what of the body came with the head,
    end says that it is all; else `on_data` and `on_end` follow.

    Call `expect(method)` for each request sent. 1xx go to `on_informational`. keep_alive: may the
    connection be used again. Bytes without a request are a protocol error."""

    __slots__ = ("_informational", "_limits", "_method", "_plan", "_responses", "keep_alive")

    def __init__(self, sink: ResponseSink, limits: Limits) -> None:
        super().__init__(sink)
        self._responses = sink
        self._limits = limits
        self._plan: Plan | None = None
        self._method = b""
        self._informational = 0
        self.keep_alive = True
        self.feed = self._after

    def expect(self, method: bytes) -> None:
        self._method = method
        self._informational = 0
        self.feed = self._head

    def eof(self) -> None:
        """The peer closed its side. That may end a message (RFC 9112 section 6.3, case 8); inside
        of one with another framing it raises Malformed."""
        if self.feed == self._until_close:
            self._end(b"")
        elif self._buffer or self.feed not in (self._head, self._after):
            raise Malformed("http1.unexpected_end")

    def _after(self, data: bytes) -> None:
        raise Malformed("http1.unexpected_response")

    def _end(self, rest: bytes) -> None:
        """Bytes behind a response answer nothing: they must not be taken for the next one."""
        if rest:
            self.keep_alive = False
        super()._end(b"")

    def _head(self, data: bytes) -> None:
        if self._buffer:
            data = self._gathered(data)
            if not data:
                return
        plan = self._plan
        found = plan.read(data, self._limits.head_bytes) if plan is not None else None
        if plan is None or found is None:
            self._slow(data)
            return
        groups, end = found
        values = groups[2:]
        status = int(groups[1])
        at = plan.connection_at
        if (
            plan.sized
            and status >= 200
            and status not in BODILESS
            and groups[0] == b"1"
            and self._method != b"HEAD"
            and (at < 0 or values[at] in KEEP_ALIVE)
        ):
            length = sized(values[plan.length_at])
            self.keep_alive = True
            response = Response(status, Headers(plan.rest, plan.pick(values)), length)
            if end + length == len(data):  # all of it is here: so it is, most of the time
                self.feed = self._after
                self._responses.on_response(response, data[end:], True)
            else:
                self._deliver(response, length, data[end:])
        else:
            self._take(groups[0], status, plan, values, data, end)

    def _slow(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._partial(data, 0)
            return
        found = status_match(data)
        if found is None or found.end() != end or end > self._limits.head_bytes:
            raise Malformed("http1.codec_error")
        names, values = split_fields(found[3])
        if len(names) > self._limits.headers:
            raise Malformed("http1.too_many_headers")
        shape = shape_of(names)
        plan = response_plans.plan(shape)
        self._plan = plan if shape.lasting else None
        self._take(found[1], int(found[2]), plan, values, data, end)

    def _partial(self, data: bytes, seen: int) -> None:
        if len(data) > self._limits.head_bytes:
            raise Malformed("http1.headers_too_large")
        self._buffer = data

    def _take(
        self,
        minor: bytes,
        status: int,
        plan: Plan,
        values: tuple[bytes, ...],
        data: bytes,
        end: int,
    ) -> None:
        rest = b"" if end == len(data) else data[end:]
        if status < 200:
            if status == 101:
                raise Malformed("http1.unexpected_upgrade")
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise Malformed("http1.too_many_informational_responses")
            self._responses.on_informational(status)
            if rest:
                self._head(rest)
            return
        length = self._govern(minor, status, Headers(plan.shape, values))
        response = Response(status, Headers(plan.rest, plan.pick(values)), length)
        self._deliver(response, length, rest)

    def _govern(self, minor: bytes, status: int, block: Headers) -> int:
        """The length of the body, and whether the connection stays."""
        length = response_length(self._method, status, minor, block)
        connection = (block.joined(b"connection") or b"").lower()
        self.keep_alive = length != UNTIL_CLOSE and (
            b"close" not in connection if minor == b"1" else b"keep-alive" in connection
        )
        return length

    def _deliver(self, response: Response, length: int, rest: bytes) -> None:
        if 0 <= length <= len(rest):
            self.feed = self._after
            if length < len(rest):
                self.keep_alive = False  # see _end
                rest = rest[:length]
            self._responses.on_response(response, rest, True)
        elif length == CHUNKED:
            self.feed = self._chunk_line
            self._responses.on_response(response, b"", False)
            if rest:
                self.feed(rest)
        else:
            self.feed = self._until_close if length == UNTIL_CLOSE else self._sized
            self._left = length - len(rest)
            self._responses.on_response(response, rest, False)
