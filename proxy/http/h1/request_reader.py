"""Reads requests off one HTTP/1 connection.

It stops after each request (`_after` keeps what was pipelined) until `next_message` is called,
since answers must leave in order. It knows the last shape that it saw (at first the last that any
reader with its limits saw) and reads a head of the same names with one regular expression; any
other head goes through the whole grammar.
"""

from __future__ import annotations

from typing import Protocol

from proxy.http.errors import Malformed
from proxy.http.h1.body import BodySink, Nobody
from proxy.http.h1.framing import request_length, sanitize_connection, sized
from proxy.http.h1.grammar import (
    alien_version_match,
    request_line_match,
    request_match,
    split_fields,
)
from proxy.http.h1.head_reader import HeadReader, Limits
from proxy.http.h1.plan import KEEP_ALIVE, Plan, request_plans
from proxy.http.h1.target import absolute_form, check_authority, known_authorities
from proxy.http.headers import Headers, shape_of
from proxy.http.message import CHUNKED, UNTIL_CLOSE, Request

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


# What Envoy's parser takes for a method unless `allow_custom_methods` says otherwise.
METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL "
    b"MOVE MSEARCH NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT "
    b"SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)


class RequestSink(BodySink, Protocol):
    def on_request(self, request: Request, data: bytes, end: bool) -> None: ...


class RequestReader(HeadReader):
    """Calls `sink.on_request(request, data, end)`: data is what of the body came with the head,
    end says that it is all; else `on_data` and `on_end` follow.

    keep_alive: may the connection be used again after this request. expects_continue: the client
    waits for 100 (RFC 9110 section 10.1.1)."""

    __slots__ = (
        "_limits",
        "_plan",
        "_requests",
        "expects_continue",
        "keep_alive",
    )

    def __init__(self, sink: RequestSink, limits: Limits) -> None:
        super().__init__(sink, limits.trailers)
        self._requests = sink
        self._limits = limits
        self._plan: Plan | None = request_plans.latest(limits)
        self.keep_alive = True
        self.expects_continue = False

    def over(self) -> None:
        super().over()
        self._requests = _NOBODY

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
            self.expects_continue = False
            if plan.length_at >= 0:
                request.length = sized(values[plan.length_at])
        else:
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
        if found[1] not in METHODS and not self._limits.custom_methods:
            raise Malformed("http1.codec_error")
        names, values = split_fields(found[4])
        if len(names) > self._limits.headers:
            raise Malformed("http1.too_many_headers", 431)
        if self._limits.underscores != "ALLOW":
            names, values = self._without_underscores(names, values)
        shape = shape_of(names)
        plan = request_plans.plan(shape)
        self._plan = None
        if shape.lasting:
            self._plan = plan
            request_plans.passed(plan, self._limits)
        block = Headers(plan.shape, values)
        request = Request(
            found[1], found[2], b"", Headers(plan.rest, plan.pick(values)), 0, b"HTTP/1." + found[3]
        )
        self._address(request, plan, values)
        self._govern(request, block)
        self._deliver(request, data[end:])

    def _without_underscores(
        self, names: tuple[bytes, ...], values: tuple[bytes, ...]
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Envoy's `headers_with_underscores_action`: to some servers `x_y` is `x-y`."""
        kept = [at for at, name in enumerate(names) if b"_" not in name]
        if len(kept) == len(names):
            return names, values
        limits = self._limits
        if limits.underscores == "REJECT_REQUEST":
            raise Malformed("http1.unexpected_underscore")
        if limits.on_dropped is not None:
            limits.on_dropped(len(names) - len(kept))
        return tuple([names[at] for at in kept]), tuple([values[at] for at in kept])

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
        self._check_line(data, data.find(b"\r\n", max(0, seen - 1)))
        self._buffer = data

    def _check_line(self, data: bytes, end: int) -> None:
        """The first line of a head that goes on; `end`: the first CRLF that was not seen before."""
        if end <= 0 or data.find(b"\r\n", 0, end) >= 0:
            return
        found = request_line_match(data)
        if found is None:
            raise _diagnosed(data[: end + 2])
        if found[1] not in METHODS and not self._limits.custom_methods:
            raise Malformed("http1.codec_error")

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
        odd = path == b"*" or path.find(b"#") >= 0 or request.method == b"CONNECT"
        if request.method == b"CONNECT":
            request.authority, request.path = path, b""
        elif not path.startswith(b"/") and path != b"*":
            absolute_form(request)
        if not plan.hosts and not request.authority:
            if old:
                request.authority = self._limits.default_host
            odd = odd or not request.authority
        if odd or request.method == b"QUERY":
            request.odd = True
        check_authority(request.authority)

    def _govern(self, request: Request, block: Headers) -> None:
        """Framing and what becomes of the connection, from headers that are not passed on."""
        request.length = request_length(request, block, self._limits.chunked_length)
        connection = (block.joined(b"connection") or b"").lower()
        old = request.version == b"HTTP/1.0"
        self.keep_alive = not old
        if connection:
            self.keep_alive = b"keep-alive" in connection if old else b"close" not in connection
            if b"upgrade" in connection and b"upgrade" in block:
                self._upgrade(request, block.get(b"upgrade") or b"")
            sanitize_connection(request.headers, connection)
        te = block.get(b"te")
        if te is not None and b"trailers" in te.lower():
            request.headers.set(b"te", b"trailers")  # all of TE that may cross (Envoy)
        expect = block.get(b"expect")
        self.expects_continue = (
            expect is not None
            and not self._limits.keeps_expect
            and expect.lower() == b"100-continue"
            and not old
        )
        if self.expects_continue:
            request.headers.remove(b"expect")

    def _upgrade(self, request: Request, upgrade: bytes) -> None:
        """HTTP/2 is not changed to (RFC 9113 section 3.1): the request is like any other."""
        if upgrade and upgrade.lower() != b"h2c":
            request.upgrade = upgrade
            request.odd = True
            request.length = UNTIL_CLOSE

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
        elif length == CHUNKED:
            self.feed = self._chunk_line
            self._requests.on_request(request, b"", False)
            if rest:
                self.feed(rest)
        else:
            self.keep_alive = False
            self.feed = self._until_close
            self._requests.on_request(request, rest, False)


class _Nobody(Nobody):
    def on_request(self, request: Request, data: bytes, end: bool) -> None: ...


_NOBODY = _Nobody()


def _diagnosed(head: bytes) -> Malformed:
    """What is wrong with a head that the grammar refuses, in Envoy's words."""
    if alien_version_match(head) is not None:
        return Malformed("low_version", 426)
    if b"\x00" in head:
        return Malformed("http1.invalid_characters")
    return Malformed("http1.codec_error")
