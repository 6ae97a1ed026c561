"""One HTTP/2 connection to a host: a shell around the codec that serves many exchanges at a time.

    connecting -> adopted: ready <-> full -> retired -> closed

It is in its pool's hands as long as it has room (`spare`). A GOAWAY, the last request it may serve
or a change of TLS material retires it: it ends what it began and closes. What the host refused
unprocessed (RFC 9113 section 8.7) is told as such, so that the router may try elsewhere.
"""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.connection import Secured
from proxy.http.h2 import ClientConnection, ConnectionFailed, errors
from proxy.http.headers import Headers
from proxy.http.message import UNTIL_CLOSE, Request, Response
from proxy.outbox import FrameOutbox, Pipe, flush
from proxy.stats import Counter
from proxy.upstream import retry
from proxy.upstream.codec_options import codec_options
from proxy.upstream.keepalive import Keepalive
from proxy.upstream.own_address import own_address
from proxy.upstream.pool import RETIRED, Exchange
from proxy.upstream.tls_loss import told

if TYPE_CHECKING:
    from proxy.upstream.pool import Pool

# Streams begun before the peer has said how many it takes (nghttp2's number).
MAX_BEFORE_SETTINGS = 100


class UpstreamH2(FrameOutbox, asyncio.Protocol):
    """spare: how many more exchanges it takes now. expects: how many more it will take, as far as
    one can tell, once the peer's SETTINGS are here."""

    __slots__ = (
        "_adopted",
        "_buffer_limit",
        "_codec",
        "_counters",
        "_early",
        "_exchanges",
        "_full",
        "_halted",
        "_head",
        "_keepalive",
        "_most",
        "_paused",
        "_remaining",
        "_sending",
        "_stuck",
        "breaker",
        "cluster",
        "expects",
        "generation",
        "host",
        "idle_since",
        "local",
        "opened_at",
        "pool",
        "secured",
        "spare",
    )

    protocol = "HTTP/2"

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        cluster = self.cluster = pool.cluster
        self.host = pool.host
        self.breaker = pool.breaker
        self.generation = cluster.generation
        http = cluster.config.http
        options = codec_options(http.http2, http.max_response_headers_kb, http.max_headers_count)
        self._codec = ClientConnection(self, options, self.send)
        self._buffer_limit = cluster.config.per_connection_buffer_limit_bytes
        self._counters: dict[str, Counter] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._sending: set[int] = set()  # their requests are not whole yet
        self._full: set[int] = set()  # and these were told to wait
        self._head: Request | None = None  # held until its body begins, for one write
        self._stuck = False
        self._paused: set[int] = set()
        self._halted = False
        self._keepalive: Keepalive | None = None
        self._adopted = False
        self._early = b""
        self._remaining = http.max_requests_per_connection or sys.maxsize
        self._most = min(http.http2.max_concurrent_streams, MAX_BEFORE_SETTINGS)
        self.expects = max(0, http.http2.max_concurrent_streams - self._most)
        self.spare = min(self._most, self._remaining)
        self.idle_since = 0.0
        self.opened_at = 0.0
        self.local: tuple[str, int] | None = None
        self.secured: Secured | None = None

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Pipe, transport)
        self.local = own_address(transport)
        self.secured = transport.get_extra_info("secured")
        self.transport.set_write_buffer_limits(high=self._buffer_limit)

    def data_received(self, data: bytes) -> None:
        self.cluster.stats.upstream_cx_rx_bytes_total.value += len(data)
        if not self._adopted:  # our preface comes first
            self._early += data
            return
        if self._keepalive is not None:
            self._keepalive.heard_at = monotonic()
        try:
            self._codec.feed(data)
        except ConnectionFailed:
            self.cluster.stats.upstream_cx_protocol_error.value += 1
            self._break(retry.PROTOCOL_ERROR)
        flush()

    def eof_received(self) -> bool:
        self._lose(abort=bool(self._exchanges))
        flush()
        return False

    def _lose(self, abort: bool, detail: str = "") -> None:
        """The peer is gone: nobody may lease it in the rest of this turn, nor wait for it. abort:
        what is still to be written would keep it open."""
        transport = self.transport
        self._forget(by_peer=True)
        if abort and transport is not None:
            transport.abort()
        self._reset_all(retry.CONNECTION_TERMINATION, detail)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self._lose(abort=False, detail=told(self.cluster, exc))
        flush()

    def pause_writing(self) -> None:
        self._stuck = True
        self._tell_writable(False)

    def resume_writing(self) -> None:
        self._stuck = False
        self._tell_writable(True)
        flush()

    def _tell_writable(self, writable: bool) -> None:
        for stream_id in list(self._sending - self._full):
            if (exchange := self._exchanges.get(stream_id)) is not None:
                exchange.on_writable(writable)

    def adopt(self, now: float) -> None:
        """It is connected and its peer verified: from here on the cluster counts it."""
        self._adopted = True
        self.opened_at = self.idle_since = now
        self._codec.start()
        settings = self.cluster.config.http.http2.keepalive
        if settings is not None:
            random = self.cluster.random
            self._keepalive = Keepalive(settings, self._codec.ping, self._on_dead, random)

    def begin_reading(self) -> None:
        """What came while the peer was being verified."""
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def discard(self) -> None:
        """It did not come to be; the pool is told by whoever tried."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    # ------------------------------------------------------------------ the router's side

    @property
    def active(self) -> int:
        return len(self._exchanges)

    def begin(self, exchange: Exchange) -> None:
        if self._keepalive is not None:
            self._keepalive.ask_if_idle(monotonic())
        if self._held_for:
            self.let_go()
        if self._halted:
            self._halt(False)
        stream_id = exchange.up_id = self._codec.new_stream()
        self._exchanges[stream_id] = exchange
        self.spare -= 1
        self._remaining -= 1
        host = self.host
        host.active += 1
        host.rq_total += 1
        if not self._remaining:
            self.cluster.stats.upstream_cx_max_requests.value += 1
            self.generation = RETIRED

    def send_request(self, exchange: Exchange, request: Request, end: bool) -> None:
        stream_id = exchange.up_id
        if end:
            self._codec.send_head(stream_id, request, True)
            if self._paused and stream_id in self._paused:
                self._codec.pause(stream_id)
            return
        self._sending.add(stream_id)
        self._head = request
        self.hold(stream_id, b"")
        if self._stuck:
            exchange.on_writable(False)

    def send_data(self, exchange: Exchange, data: bytes) -> None:
        if not data:
            return
        if self._head is not None and self._held_for == exchange.up_id and not self._held:
            self._held = data  # with its head
        else:
            self.hold(exchange.up_id, data)

    def send_held(self, stream_id: int, data: bytes, end: bool) -> None:
        codec = self._codec
        head, self._head = self._head, None
        if head is not None:
            codec.send_head(stream_id, head, end, data)
            if self._paused and stream_id in self._paused:  # before it was there to be paused
                codec.pause(stream_id)
        else:
            codec.send_data(stream_id, data, end)
        if not end and stream_id not in self._full and codec.queued(stream_id) > self._buffer_limit:
            self._full.add(stream_id)
            if (exchange := self._exchanges.get(stream_id)) is not None:
                exchange.on_writable(False)

    def end_request(self, exchange: Exchange, trailers: Headers | None) -> None:
        stream_id = exchange.up_id
        if trailers is not None:
            if self._held_for == stream_id:
                self.let_go()
            self._codec.send_trailers(stream_id, trailers)
        elif self._held_for != stream_id:
            self._codec.send_data(stream_id, b"", True)
        elif self._head is None:
            self.let_go(end=True)
        else:  # a whole message, as a unary call's
            head, data = self._head, self._held
            self._head, self._held, self._held_for = None, b"", 0
            self._codec.send_head(stream_id, head, True, data)
        self._sending.discard(stream_id)

    def abandon(self, exchange: Exchange) -> None:
        """Envoy's code for a request that is given up is INTERNAL_ERROR."""
        stream_id = exchange.up_id
        if self._exchanges.get(stream_id) is exchange:
            self.cluster.stats.upstream_rq_tx_reset.value += 1
            self._codec.reset(stream_id, errors.INTERNAL_ERROR)
            self._leave(stream_id)

    def hand_over(self, exchange: Exchange, other: Exchange) -> None:
        stream_id = other.up_id = exchange.up_id
        if self._exchanges.get(stream_id) is exchange:
            self._exchanges[stream_id] = other

    def pause_reading(self, exchange: Exchange) -> None:
        """Its window stays shut. When nobody wants to hear anything, nothing is read at all: else
        a peer might send as much as all windows hold."""
        self._codec.pause(exchange.up_id)
        self._paused.add(exchange.up_id)
        everybody = len(self._paused) == len(self._exchanges)
        if everybody and not self._sending and self._keepalive is None:
            self._halt(True)

    def resume_reading(self, exchange: Exchange) -> None:
        self._codec.resume(exchange.up_id)
        self._paused.discard(exchange.up_id)
        self._halt(False)

    def _halt(self, halted: bool) -> None:
        transport = self.transport
        if halted == self._halted or transport is None or transport.is_closing():
            return
        self._halted = halted
        if halted:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # ------------------------------------------------------------------ the codec's side

    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            if end:
                self._finish(stream_id)
            elif response.status == 101:
                response.upgrade = exchange.request.upgrade
                response.length = UNTIL_CLOSE
            exchange.on_response(response, data, end)

    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.on_informational(status, headers)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            if data:
                exchange.on_data(data)
            if end and self._exchanges.get(stream_id) is exchange:
                self._finish(stream_id)
                exchange.on_end(None)

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            self._finish(stream_id)
            exchange.on_end(headers)

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            return
        reason = retry.REMOTE_RESET
        if not (detail.startswith("http2.remote") or detail in errors.OVERFLOWS):
            reason = retry.PROTOCOL_ERROR
        elif error_code == errors.REFUSED_STREAM:
            reason = retry.REFUSED
        else:
            self.cluster.stats.upstream_rq_rx_reset.value += 1
        if self._codec.leaving:
            self._withdraw()  # whoever tries again must not come here
        self._leave(stream_id)
        exchange.on_reset(reason)

    def on_window(self, stream_id: int) -> None:
        if stream_id in self._full:
            self._full.discard(stream_id)
            exchange = self._exchanges.get(stream_id)
            if exchange is not None and not self._stuck:
                exchange.on_writable(True)

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        self.cluster.stats.upstream_cx_close_notify.value += 1
        self.retire()

    def on_settings(self) -> None:
        """The peer has said how many streams it takes at a time."""
        self._most = self._codec.max_streams
        self.pool.on_settings(self, self._room())

    def on_ping_ack(self, data: bytes) -> None:
        if self._keepalive is not None:
            self._keepalive.on_answer()

    def count(self, name: str) -> None:
        counter = self._counters.get(name)
        if counter is None:
            full = f"{self.cluster.prefix}http2.{name}"
            counter = self._counters[name] = self.cluster.all_stats.counter(full)
        counter.value += 1

    def unsent(self) -> int:
        return self.waiting_bytes

    # ------------------------------------------------------------------ its own life

    def _room(self) -> int:
        if self.generation == RETIRED:
            return 0
        return max(0, min(self._most - len(self._exchanges), self._remaining))

    def _finish(self, stream_id: int) -> None:
        """The response is whole. A request that is not is of no more use (Envoy resets it)."""
        if stream_id in self._sending:
            self._codec.reset(stream_id, errors.INTERNAL_ERROR)
            self.cluster.stats.upstream_rq_tx_reset.value += 1
        self._leave(stream_id)

    def _leave(self, stream_id: int) -> None:
        """The exchange is over: there is room for another, or an end to be made."""
        del self._exchanges[stream_id]
        if self._sending:
            self._sending.discard(stream_id)
            self._full.discard(stream_id)
        if self._held_for == stream_id:
            self._held_for = 0
            self._head = None
        if self._paused:
            self._paused.discard(stream_id)
            self._halt(False)
        self.host.active -= 1
        self.breaker.requests -= 1
        was = self.spare
        room = self._most - len(self._exchanges)
        if room > self._remaining or self.generation == RETIRED:
            room = self._room()
        self.spare = room if room > 0 else 0
        if not self._exchanges:
            self.idle_since = self.cluster.now
            if self.generation == RETIRED or self.host.removed:
                self.close()
                return
        if not was and self.spare:
            self.pool.on_idle(self)

    def _withdraw(self) -> None:
        self.generation = RETIRED
        self.spare = 0
        self.pool.withdraw(self)

    def retire(self) -> None:
        self._withdraw()
        if not self._exchanges:
            self.close()

    def close(self) -> None:
        """Closes once what was said is written; the pool forgets it now."""
        transport = self.transport
        if transport is not None:
            self.write_out()
            self._forget()
            transport.close()

    def _break(self, reason: str) -> None:
        """What was said, a GOAWAY, is still written."""
        self.write_out()
        transport = self.transport
        self._forget()
        if transport is not None:
            transport.close()
        self._reset_all(reason)

    def _on_dead(self) -> None:
        self.count("keepalive_timeout")
        transport = self.transport
        self._forget()
        if transport is not None:
            transport.abort()
        self._reset_all(retry.CONNECTION_TERMINATION)

    def _reset_all(self, reason: str, detail: str = "") -> None:
        exchanges, self._exchanges = self._exchanges, {}
        self._sending.clear()
        self._full.clear()
        self._held_for = 0
        self._head = None
        self.host.active -= len(exchanges)
        self.breaker.requests -= len(exchanges)
        if reason == retry.CONNECTION_TERMINATION:
            stats = self.cluster.stats
            stats.upstream_rq_pending_failure_eject.value += len(exchanges)
        for exchange in exchanges.values():
            exchange.on_reset(reason, detail)

    def _forget(self, by_peer: bool = False) -> None:
        """Out of the pool's books, once."""
        if self.transport is None:
            return
        self.transport = None
        if self._keepalive is not None:
            self._keepalive.stop()
        if self._adopted:
            self.pool.on_closed(self, by_peer, bool(self._exchanges))
