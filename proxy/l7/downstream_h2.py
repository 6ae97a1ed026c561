"""One HTTP/2 connection from a client: a shell around the codec, many streams at a time.

    open -> draining (GOAWAY with the highest id) -> GOAWAY -> closed when the last stream has ended

It drains as Envoy does, when its manager does, after `idle_timeout`, `max_connection_duration` or
`max_requests_per_connection`: streams that cross the first GOAWAY are still served, and the second
one comes `drain_timeout` later. A slow client stops the upstreams of the streams that it does not
read, and no others.
"""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.connection import ConnectionInfo
from proxy.http.h2 import ConnectionFailed, PrematureResets, ServerConnection, errors
from proxy.http.headers import Headers
from proxy.http.message import UNTIL_CLOSE, Request, Response
from proxy.l7.stream import Stream
from proxy.outbox import FrameOutbox, Pipe, flush
from proxy.upstream.keepalive import Keepalive

if TYPE_CHECKING:
    from proxy.l7.manager import HttpManager

EXPECT = b"expect"
# What a client has not begun to take for so long it will not take: then the rest is thrown away.
LINGER_S = 60.0


class DownstreamH2(FrameOutbox, asyncio.Protocol):
    """streams: by their id. closing: no stream is begun any more."""

    protocol = "http2"

    __slots__ = (
        "_begun",
        "_buffer_limit",
        "_codec",
        "_draining",
        "_full",
        "_goaway_at",
        "_keepalive",
        "_received",
        "_remaining",
        "_requests",
        "_resets",
        "_stuck",
        "_unsent",
        "closing",
        "idle_since",
        "info",
        "manager",
        "opened_at",
        "streams",
    )

    def __init__(self, manager: HttpManager, info: ConnectionInfo) -> None:
        super().__init__()
        self.manager = manager
        self.info = info
        self.streams: dict[int, Stream] = {}
        self._codec = ServerConnection(self, manager.http2_options, self.send)
        self._buffer_limit = manager.buffer_limit_bytes
        self._full: set[int] = set()
        self._stuck = False
        self._keepalive: Keepalive | None = None
        self._received = manager.stats.downstream_cx_rx_bytes_total
        self._requests = manager.stats.downstream_rq_http2_total
        self._remaining = manager.config.max_requests_per_connection or sys.maxsize
        self._resets = PrematureResets()
        self._draining = False
        self._begun = 0
        self._goaway_at = 0.0
        self._unsent = 0
        self.closing = False
        self.opened_at = self.idle_since = monotonic()

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Pipe, transport)
        self.transport.set_write_buffer_limits(high=self._buffer_limit)
        self.manager.on_connection(self)
        self._codec.start()
        settings = self.manager.config.http2.keepalive
        if settings is not None:
            random = self.manager.worker.random
            self._keepalive = Keepalive(settings, self._codec.ping, self._on_dead, random)
        flush()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._received.value += len(data)
        if self._keepalive is not None:
            self._keepalive.heard_at = monotonic()
        try:
            self._codec.feed(data)
        except ConnectionFailed as error:
            self.manager.stats.downstream_cx_protocol_error.value += 1
            self._end_all("DPE", error.detail)
            self.closing = True
            self._close()
        else:
            if self._over:
                self._close()
        flush()

    @property
    def _over(self) -> bool:
        """All was said, and no more will be."""
        return self.closing and not self.streams and not self._codec.sending

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._keepalive is not None:
            self._keepalive.stop()
        self.manager.on_connection_end(self)
        self.info.on_closed()
        self._end_all("DC", "downstream_remote_disconnect")
        flush()

    def _end_all(self, flag: str, detail: str) -> None:
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.on_downstream_lost(flag, detail)

    def pause_writing(self) -> None:
        self._stuck = True
        for stream_id, stream in list(self.streams.items()):
            if stream_id not in self._full:
                stream.on_downstream_full(True)

    def resume_writing(self) -> None:
        self._stuck = False
        for stream_id, stream in list(self.streams.items()):
            if stream_id not in self._full:
                stream.on_downstream_full(False)
        flush()

    # ------------------------------------------------------------------ the codec's side

    def on_request(self, stream_id: int, request: Request, data: bytes, end: bool) -> None:
        stream = Stream(self, self.manager, request)
        stream.id = stream_id
        self.streams[stream_id] = stream
        self._begun = stream_id
        self._requests.value += 1
        self._remaining -= 1
        if not self._remaining:
            self.manager.stats.downstream_cx_max_requests_reached.value += 1
            self._drain(monotonic())
        if EXPECT in request.headers.shape.index:
            self._continue(stream_id, request.headers)
        if request.upgrade or request.method == b"CONNECT":
            request.length = UNTIL_CLOSE
        path = request.path
        if b"#" in path or path == b"*":
            request.odd = True
        stream.begin(data, end)

    def _continue(self, stream_id: int, headers: Headers) -> None:
        """We say that the body is welcome; the upstream is not asked (Envoy)."""
        if (headers.get(EXPECT) or b"").lower() == b"100-continue":
            headers.remove(EXPECT)
            self._codec.send_informational(stream_id, 100, Headers())
            self.manager.stats.statuses.add(100)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            if data:
                stream.on_request_data(data)
            if end:
                stream.on_request_end()

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_request_end(headers)

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        """detail: in Envoy's words. The client's own resets are its business (DR), what we found
        wrong with its message is a protocol error (DPE)."""
        remote = detail.startswith("http2.remote") or detail in errors.OVERFLOWS
        flag = "DR" if remote else "DPE"
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            if detail and stream_id > self._begun:
                self._ghost(flag, detail)
            return
        if stream.status:
            self.manager.stats.downstream_rq_rx_reset.value += 1
        stream.on_downstream_lost(flag, detail)

    def _ghost(self, flag: str, detail: str) -> None:
        """A request that never began is counted and logged as one (Envoy)."""
        request = Request(b"", b"", b"", Headers(), version=b"HTTP/2")
        stream = Stream(self, self.manager, request)
        self.manager.stats.downstream_rq_http2_total.value += 1
        self.manager.on_stream(stream)
        stream.request_done = True
        stream.on_downstream_lost(flag, detail)

    def on_window(self, stream_id: int) -> None:
        if stream_id in self._full:
            self._full.discard(stream_id)
            stream = self.streams.get(stream_id)
            if stream is not None and not self._stuck:
                stream.on_downstream_full(False)

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        """The client begins no more streams; those that it has are served."""

    def on_settings(self) -> None:
        """Windows are the codec's business."""

    def on_ping_ack(self, data: bytes) -> None:
        if self._keepalive is not None:
            self._keepalive.on_answer()

    def count(self, name: str) -> None:
        self.manager.count_http2(name)

    def unsent(self) -> int:
        return self.waiting_bytes

    # ------------------------------------------------------------------ the stream's side

    def pause_reading(self, stream: Stream) -> None:
        self._codec.pause(stream.id)

    def resume_reading(self, stream: Stream) -> None:
        self._codec.resume(stream.id)

    def is_full(self, stream: Stream) -> bool:
        return self._stuck or stream.id in self._full

    def close_after(self, stream: Stream) -> None:
        """An answer ends no connection in HTTP/2, but a refused upgrade does (Envoy)."""
        if stream.detail == "upgrade_failed":
            self._drain(monotonic())

    def send_informational(self, stream: Stream, status: int, headers: Headers) -> None:
        self._codec.send_informational(stream.id, status, headers)

    def send_response(self, stream: Stream, response: Response, data: bytes, end: bool) -> None:
        if self.manager.draining:
            self._drain(monotonic())
        if self._held_for:
            self.let_go()
        self._codec.send_head(stream.id, response, end, data)

    def send_data(self, stream: Stream, data: bytes) -> None:
        if data:
            self.hold(stream.id, data)

    def send_held(self, stream_id: int, data: bytes, end: bool) -> None:
        codec = self._codec
        codec.send_data(stream_id, data, end)
        if not end and stream_id not in self._full and codec.queued(stream_id) > self._buffer_limit:
            self._full.add(stream_id)
            if (stream := self.streams.get(stream_id)) is not None:
                stream.on_downstream_full(True)

    def end_response(self, stream: Stream, trailers: Headers | None) -> None:
        held = self._held_for == stream.id
        if trailers is not None:
            if held:
                self.let_go()
            self._codec.send_trailers(stream.id, trailers)
        elif held:
            self.let_go(end=True)
        else:
            self._codec.send_data(stream.id, b"", True)

    def abort(self, stream: Stream) -> None:
        """Envoy's code for an answer that can't be completed is INTERNAL_ERROR."""
        if self._held_for == stream.id:
            self.let_go()
        self._codec.reset(stream.id, errors.INTERNAL_ERROR)
        self.manager.stats.downstream_rq_tx_reset.value += 1
        stream.request_done = True
        stream.finish()

    def on_stream_end(self, stream: Stream) -> None:
        stream_id = stream.id
        self.idle_since = stream.ended
        if self.streams.pop(stream_id, None) is not None and not stream.request_done:
            self._codec.resume(stream_id)
            self._codec.reset_behind(stream_id, errors.NO_ERROR)  # RFC 9113 section 8.1
        if self._full:
            self._full.discard(stream_id)
        self._resets.ended += 1
        if not stream.status and self._resets.note(stream.ended - stream.started):
            self._refuse_resets()
        elif self._over:
            self._close()

    def _refuse_resets(self) -> None:
        """A client that only resets (CVE-2023-44487)."""
        if not self.closing:
            self.closing = True
            self.manager.stats.downstream_rq_too_many_premature_resets.value += 1
            if self.transport is not None:
                self.transport.abort()

    # ------------------------------------------------------------------ its own life

    @property
    def idle(self) -> bool:
        return not self.streams

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the client has not been sent."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def _drain(self, now: float) -> None:
        """The first GOAWAY: no more streams, please, but those on their way are served."""
        if not self._draining and not self.closing:
            self._draining = True
            self._goaway_at = now + self.manager.config.drain_timeout_s
            self._codec.shutdown_notice()

    def _go_away(self) -> None:
        """The second: nothing above the last stream will be served."""
        self._goaway_at = 0.0
        self.closing = True
        self._codec.goaway()
        if self._over:
            self._close()

    def close_gently(self) -> None:
        if not self.closing:
            self._go_away()

    def _close(self) -> None:
        """Says no more; closes when the client has, or after `delayed_close_timeout`."""
        transport = self.transport
        if transport is None:
            return
        if self._keepalive is not None:
            self._keepalive.stop()
        self.write_out()
        if transport.can_write_eof():
            transport.write_eof()
            loop = asyncio.get_running_loop()
            loop.call_later(self.manager.delayed_close_s, transport.close)
        else:
            transport.close()

    def _on_dead(self) -> None:
        self.count("keepalive_timeout")
        if self.transport is not None:
            self.transport.abort()

    def sweep(self, now: float) -> None:
        """Once a second: is it idle, or too old?"""
        manager = self.manager
        if self.closing:
            self._linger(now)
        elif self._draining:
            if now >= self._goaway_at:
                self._go_away()
        elif manager.max_duration_s and now - self.opened_at > manager.max_duration_s:
            manager.stats.downstream_cx_max_duration_reached.value += 1
            self._drain(now)
        elif self.streams:
            return
        elif manager.draining:
            self._drain(now)
        elif manager.idle_timeout_s and now - self.idle_since > manager.idle_timeout_s:
            manager.stats.downstream_cx_idle_timeout.value += 1
            self._drain(now)

    def _linger(self, now: float) -> None:
        """It closes when all is written. Does it come to that?"""
        transport, unsent = self.transport, self.unsent_bytes
        if not self.streams:
            unsent += self._codec.waiting_bytes
        if unsent != self._unsent:
            self._unsent = unsent
            self.idle_since = now
        elif unsent and transport is not None and now - self.idle_since > LINGER_S:
            transport.abort()
