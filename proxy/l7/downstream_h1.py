"""One HTTP/1 connection from a client: a shell around the codec, one stream at a time.

Answers leave in order: what a client pipelines waits in the reader until the stream before it has
ended. A connection that must close does so only after its last answer could be read (Envoy's
delayed close): closing with unread bytes would make the kernel throw the answer away.
"""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.connection import ConnectionInfo
from proxy.filters.api import Reply
from proxy.http.errors import Malformed
from proxy.http.h1 import LAST_CHUNK, RequestReader, chunk, last_chunk, upgrade_lines
from proxy.http.headers import Headers
from proxy.http.message import Request, Response, reason
from proxy.l7.reply import HEADERS_TIMEOUT
from proxy.l7.stream import Stream
from proxy.outbox import Outbox, Pipe, flush

if TYPE_CHECKING:
    from proxy.l7.manager import HttpManager

BODILESS = (204, 304)
CHUNKED_LINE = b"transfer-encoding: chunked\r\n"
EMPTY_LINE = b"content-length: 0\r\n"
CLOSE_LINE = b"connection: close\r\n"
KEEP_ALIVE_LINE = b"connection: keep-alive\r\n"
# What a client has not begun to take for so long it will not take: then the rest is thrown away.
LINGER_S = 60.0


class DownstreamH1(Outbox, asyncio.Protocol):
    """chunked, bodiless: how the answer under way is framed. last: it is the last one.
    full: what we write is not being read."""

    protocol = "http1"

    __slots__ = (
        "_again",
        "_feeding",
        "_head",
        "_head_since",
        "_paused",
        "_received",
        "_served",
        "_serves_at_most",
        "_unsent",
        "bodiless",
        "chunked",
        "closing",
        "full",
        "idle_since",
        "info",
        "last",
        "manager",
        "opened_at",
        "reader",
        "stream",
    )

    def __init__(self, manager: HttpManager, info: ConnectionInfo) -> None:
        super().__init__()
        self.manager = manager
        self.info = info
        self.reader = RequestReader(self, manager.limits)
        self._head = manager.response_head
        self._served = 0
        self._serves_at_most = manager.config.max_requests_per_connection or sys.maxsize
        self._received = manager.stats.downstream_cx_rx_bytes_total
        self.stream: Stream | None = None
        self.chunked = False
        self.bodiless = False
        self.last = False
        self.closing = False
        self.full = False
        self._head_since = 0.0
        self._feeding = False
        self._again = False
        self._paused = False
        self._unsent = 0
        self.opened_at = self.idle_since = monotonic()

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Pipe, transport)
        self.transport.set_write_buffer_limits(high=self.manager.buffer_limit_bytes)
        self.manager.on_connection(self)

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        self._received.value += len(data)
        self._feeding = True
        try:
            self.reader.feed(data)
        except Malformed as error:
            self._refuse(error)
        self._feeding = False
        if self._again:
            self._continue()
        elif self.stream is not None and self.reader.overfull:
            self._pause()
        flush()

    def _continue(self) -> None:
        """Pipelined requests, one after the other and without recursion."""
        while self._again and not self.closing and not self.full:
            self._again = False
            self._feeding = True
            try:
                self.reader.next_message()
            except Malformed as error:
                self._refuse(error)
            self._feeding = False

    def eof_received(self) -> bool:
        if self.stream is None:
            self.closing = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.manager.on_connection_end(self)
        self.info.on_closed()
        stream = self.stream
        if stream is not None:
            stream.on_downstream_lost()
        self.reader.over()
        flush()

    def pause_writing(self) -> None:
        """The client does not keep up: no more from the upstream, and no further request."""
        self.full = True
        if self.stream is not None:
            self.stream.on_downstream_full(True)

    def resume_writing(self) -> None:
        self.full = False
        if self.stream is not None:
            self.stream.on_downstream_full(False)
        else:
            self._resume()
            if self._again and not self._feeding:
                self._continue()
        flush()

    def _pause(self) -> None:
        if not self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    # ------------------------------------------------------------------ the codec's side

    def on_request(self, request: Request, data: bytes, end: bool) -> None:
        stream = self.stream = Stream(self, self.manager, request)
        self._served += 1
        if self._served >= self._serves_at_most:
            self.last = True
        if self.reader.expects_continue and not end:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.manager.stats.statuses.add(100)
        stream.begin(data, end)

    def on_data(self, data: bytes) -> None:
        if self.stream is not None:
            self.stream.on_request_data(data)

    def on_end(self, trailers: Headers | None) -> None:
        if self.stream is not None:
            self.stream.on_request_end(trailers)

    def _refuse(self, error: Malformed) -> None:
        """The client broke the protocol: an answer if none has begun, and the end. What comes
        behind the last answer is not looked at."""
        if self.closing:
            return
        self.manager.on_protocol_error(error)
        stream = self.stream
        if stream is None:  # a head that was none is counted and logged as a request, as Envoy does
            stream = self.stream = Stream(self, self.manager, Request(b"", b"", b"", Headers()))
            self.manager.on_stream(stream)
        stream.respond(Reply(error.status, reason(error.status), "DPE", error.detail, close=True))

    # ------------------------------------------------------------------ the stream's side

    def pause_reading(self, stream: Stream) -> None:
        self._pause()

    def resume_reading(self, stream: Stream) -> None:
        self._resume()

    def is_full(self, stream: Stream) -> bool:
        return self.full

    def close_after(self, stream: Stream) -> None:
        self.last = True

    def send_informational(self, stream: Stream, status: int, headers: Headers) -> None:
        """Not to HTTP/1.0 (RFC 9110 section 15.2)."""
        if stream.request.version != b"HTTP/1.0":
            self.send(self._head(Response(status, headers)))

    def send_response(self, stream: Stream, response: Response, data: bytes, end: bool) -> None:
        request = stream.request
        if (
            (response.length > 0 or (response.length == 0 and _framed(response)))
            and stream.request_done
            and self.reader.keep_alive
            and not self.last
            and not self.manager.draining
            and request.version == b"HTTP/1.1"
            and request.method != b"HEAD"
        ):
            self.bodiless = self.chunked = False
            if end and not self._feeding:  # what was pipelined is answered in one write
                self.send_whole(self._head(response) + data)
            else:
                self.send(self._head(response) + data)
        else:
            self._send_framed(request, stream.request_done, response, data, end)

    def _send_framed(
        self, request: Request, request_done: bool, response: Response, data: bytes, end: bool
    ) -> None:
        """The same when something about framing or the connection has to be said."""
        if response.status == 101 or (request.method == b"CONNECT" and response.status < 300):
            self._send_tunnel(response, data)
            return
        old = request.version == b"HTTP/1.0"
        self.bodiless = request.method == b"HEAD" or response.status in BODILESS
        self.chunked = False
        lines = b""
        if response.length < 0 and not self.bodiless:
            if old:
                self.last = True
            else:
                self.chunked = True
                lines = CHUNKED_LINE
        elif not self.bodiless and not response.length and not _framed(response):
            lines = EMPTY_LINE  # HTTP/2 ends a message otherwise
        if not (self.reader.keep_alive and request_done) or self.manager.draining:
            self.last = True
        if self.last:
            lines += CLOSE_LINE
        elif old:
            lines += KEEP_ALIVE_LINE
        if self.bodiless and not old and request.method == b"HEAD" and response.length == 0:
            lines = self._head_framing(response) + lines
        head = self._head(response, lines, request.version)
        if data and not self.bodiless:
            head += chunk(data) if self.chunked else data
        self.send(head + LAST_CHUNK if end and self.chunked else head)

    def _send_tunnel(self, response: Response, data: bytes) -> None:
        """What follows is no message: no framing is told (RFC 9110 sections 9.3.6, 15.2.2)."""
        self.bodiless = self.chunked = False
        self.last = True
        response.headers.remove(b"content-length")
        self.send(self._head(response, upgrade_lines(response.upgrade)) + data)

    @staticmethod
    def _head_framing(response: Response) -> bytes:
        """An answer to HEAD tells how GET would be framed (RFC 9110 section 9.3.2)."""
        known = b"content-length" in response.headers or response.status in BODILESS
        return b"" if known else CHUNKED_LINE

    def send_data(self, stream: Stream, data: bytes) -> None:
        if not self.bodiless:
            self.send(chunk(data) if self.chunked else data)

    def end_response(self, stream: Stream, trailers: Headers | None) -> None:
        if self.chunked:
            self.send(last_chunk(trailers if self.reader.keeps_trailers else None))

    def on_stream_end(self, stream: Stream) -> None:
        self.stream = None
        self.idle_since = stream.ended
        if self.transport is None or self.closing:
            return
        if self.last or not stream.request_done:
            self.close_gently()
            return
        if self.full:
            self._pause()
        elif self._paused:
            self._resume()
        if self.reader.rearm():
            self._again = True
            if not self._feeding:
                self._continue()

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the client has not been sent."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def abort(self, stream: Stream) -> None:
        self.manager.stats.downstream_rq_tx_reset.value += 1
        transport = self.transport
        self.closing = True
        if transport is not None:
            self.write_out()
            transport.close()
        stream.finish()

    def close_gently(self) -> None:
        """Says no more; closes when the client has, or after `delayed_close_timeout`."""
        transport = self.transport
        if transport is None or self.closing:
            return
        self.closing = True
        self.write_out()
        self._resume()
        if transport.can_write_eof():
            transport.write_eof()
            loop = asyncio.get_running_loop()
            loop.call_later(self.manager.delayed_close_s, transport.close)
        else:
            transport.close()

    @property
    def idle(self) -> bool:
        return self.stream is None

    def sweep(self, now: float) -> None:
        """Once a second: is it idle, or too slow with its head, or too old?"""
        manager = self.manager
        if self.closing:
            self._linger(now)
        if self.stream is not None or self.closing:
            return
        idle_s = now - self.idle_since
        if not self.reader.idle:
            self._head_since = self._head_since or now
            if 0 < manager.headers_timeout_s < now - self._head_since:
                self._refuse(Malformed(HEADERS_TIMEOUT.detail, HEADERS_TIMEOUT.status))
            return
        self._head_since = 0.0
        if manager.draining and now >= manager.drained_at:
            self.close_gently()
        elif manager.idle_timeout_s and idle_s > manager.idle_timeout_s:
            manager.stats.downstream_cx_idle_timeout.value += 1
            self.close_gently()
        elif manager.max_duration_s and now - self.opened_at > manager.max_duration_s:
            manager.stats.downstream_cx_max_duration_reached.value += 1
            self.close_gently()

    def _linger(self, now: float) -> None:
        """It closes when all is written. Does it come to that?"""
        transport, unsent = self.transport, self.unsent_bytes
        if unsent != self._unsent:
            self._unsent = unsent
            self.idle_since = now
        elif unsent and transport is not None and now - self.idle_since > LINGER_S:
            transport.abort()


def _framed(response: Response) -> bool:
    """Says itself that it is empty."""
    return b"content-length" in response.headers.shape.index
