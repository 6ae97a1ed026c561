"""Reads responses off one HTTP/1 connection.

It must be told which method each response answers. It knows the last shape that it saw and reads a
head of the same names with one regular expression; any other head goes through the whole grammar.
"""

from __future__ import annotations

from typing import Protocol

from proxy.http.errors import Malformed
from proxy.http.h1.body import BodySink
from proxy.http.h1.framing import response_length, sized
from proxy.http.h1.grammar import split_fields, status_match
from proxy.http.h1.head_reader import HeadReader, Limits
from proxy.http.h1.plan import KEEP_ALIVE, Plan, response_plans
from proxy.http.headers import Headers, shape_of
from proxy.http.message import CHUNKED, UNTIL_CLOSE, Response

BODILESS = (204, 304)
MAX_INFORMATIONAL = 32
SPECIAL = (b"HEAD", b"CONNECT")  # the framing of answers to these is not what their headers say


class ResponseSink(BodySink, Protocol):
    def on_response(self, response: Response, data: bytes, end: bool) -> None: ...
    def on_informational(self, status: int, headers: Headers) -> None: ...


class ResponseReader(HeadReader):
    """Calls `sink.on_response(response, data, end)`: data is what of the body came with the head,
    end says that it is all; else `on_data` and `on_end` follow.

    Call `expect(method)` for each request sent. 1xx go to `on_informational`. keep_alive: may the
    connection be used again. Bytes without a request are a protocol error."""

    __slots__ = (
        "_informational",
        "_limits",
        "_method",
        "_plan",
        "_responses",
        "_upgrading",
        "keep_alive",
    )

    def __init__(self, sink: ResponseSink, limits: Limits) -> None:
        super().__init__(sink, limits.trailers)
        self._responses = sink
        self._limits = limits
        self._plan: Plan | None = None
        self._method = b""
        self._informational = 0
        self._upgrading = False
        self.keep_alive = True
        self.feed = self._after

    def expect(self, method: bytes) -> None:
        self._method = method
        self._informational = 0
        self.feed = self._head

    def expect_upgrade(self) -> None:
        """The request that was just sent asks for it: 101 may be the answer."""
        self._upgrading = True

    def eof(self) -> None:
        """The peer closed its side. That may end a message (RFC 9112 section 6.3, case 8); inside
        of one with another framing it raises Malformed."""
        if self.feed == self._until_close:
            self._end(b"")
        elif self._buffer or self.feed not in (self._head, self._after):
            raise Malformed("http1.unexpected_end")

    def _after(self, data: bytes) -> None:
        raise Malformed("http1.unexpected_response")

    def _end(self, rest: bytes, trailers: Headers | None = None) -> None:
        """Bytes behind a response answer nothing: they must not be taken for the next one."""
        if rest:
            self.keep_alive = False
        super()._end(b"", trailers)

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
            and self._method not in SPECIAL
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
        if status == 101:
            self._switch(plan, values, rest)
            return
        if status < 200:
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise Malformed("http1.too_many_informational_responses")
            self._responses.on_informational(status, Headers(plan.rest, plan.pick(values)))
            if rest:
                self._head(rest)
            return
        length = self._govern(minor, status, Headers(plan.shape, values))
        response = Response(status, Headers(plan.rest, plan.pick(values)), length)
        self._deliver(response, length, rest)

    def _switch(self, plan: Plan, values: tuple[bytes, ...], rest: bytes) -> None:
        """What follows 101 is another protocol (RFC 9110 section 15.2.2)."""
        if not self._upgrading:
            raise Malformed("http1.unexpected_upgrade")
        self.keep_alive = False
        response = Response(101, Headers(plan.rest, plan.pick(values)), UNTIL_CLOSE)
        response.upgrade = Headers(plan.shape, values).get(b"upgrade") or b""
        self._deliver(response, UNTIL_CLOSE, rest)

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
