"""One HTTP/1.1 connection to a host: a shell around the codec that serves one exchange at a time.

    connecting -> adopted: idle <-> busy -> closed

A connection goes back to its host when the response and the request are both whole and the peer
lets it live; in any other case it is closed, since HTTP/1 can't give up a request otherwise.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, cast

from proxy.connection import Secured
from proxy.http.errors import Malformed
from proxy.http.h1 import (
    LAST_CHUNK,
    Limits,
    ResponseReader,
    chunk,
    last_chunk,
    proper_case,
    proper_request_head,
    request_head,
    tunnel_head,
)
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, UNTIL_CLOSE, Request, Response
from proxy.outbox import Outbox, Pipe, flush
from proxy.upstream import retry
from proxy.upstream.own_address import own_address
from proxy.upstream.pool import RETIRED, Exchange
from proxy.upstream.tls_loss import told

if TYPE_CHECKING:
    from proxy.upstream.pool import Pool


FOR_EVER = sys.maxsize


class UpstreamH1(Outbox, asyncio.Protocol):
    """`exchange` is whom it serves now. breaker: the priority that its connection counts for."""

    __slots__ = (
        "_adopted",
        "_head",
        "_paused",
        "_reader",
        "_serves_at_most",
        "breaker",
        "cluster",
        "exchange",
        "generation",
        "host",
        "idle_since",
        "local",
        "opened_at",
        "pool",
        "request_done",
        "secured",
        "served",
    )

    protocol = "HTTP/1.1"
    spare = 1  # of one that is ready
    expects = 0

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        cluster = self.cluster = pool.cluster
        self.host = pool.host
        self.generation = cluster.generation
        self.breaker = pool.breaker
        self.exchange: Exchange | None = None
        http = cluster.config.http
        limits = Limits(head_bytes=http.max_response_headers_kb * 1024,
                        headers=http.max_headers_count,
                        trailers=http.http1.enable_trailers)  # fmt: skip
        self._reader = ResponseReader(self, limits)
        self._head = proper_request_head if http.http1.proper_case else request_head
        self.request_done = True
        self._adopted = self._paused = False
        self.served = 0
        self._serves_at_most = http.max_requests_per_connection or FOR_EVER
        self.idle_since = 0.0
        self.opened_at = 0.0
        self.local: tuple[str, int] | None = None
        self.secured: Secured | None = None

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Pipe, transport)
        self.local = own_address(transport)
        self.secured = transport.get_extra_info("secured")
        limit = self.cluster.config.per_connection_buffer_limit_bytes
        self.transport.set_write_buffer_limits(high=limit)

    def data_received(self, data: bytes) -> None:
        self.cluster.stats.upstream_cx_rx_bytes_total.value += len(data)
        try:
            self._reader.feed(data)
        except Malformed as error:
            self.cluster.stats.upstream_cx_protocol_error.value += 1
            self._break(retry.PROTOCOL_ERROR, error.detail)
        flush()

    def eof_received(self) -> bool:
        try:
            self._reader.eof()
        except Malformed as error:
            self.cluster.stats.upstream_cx_protocol_error.value += 1
            self._break(retry.PROTOCOL_ERROR, error.detail)
        self._lose(abort=self.exchange is not None)
        flush()
        return False

    def _lose(self, abort: bool, detail: str = "") -> None:
        """The peer is gone: nobody may lease it in the rest of this turn, nor wait for it. abort:
        what is still to be written would keep it open."""
        transport = self.transport
        self._forget(by_peer=True)
        if abort and transport is not None:
            transport.abort()
        self._reset(retry.CONNECTION_TERMINATION, detail)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self._lose(abort=False, detail=told(self.cluster, exc))
        flush()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.on_writable(False)

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.on_writable(True)
        flush()

    def adopt(self, now: float) -> None:
        """It is connected and its peer verified: from here on the cluster counts it."""
        self._adopted = True
        self.opened_at = self.idle_since = now

    def discard(self) -> None:
        """It did not come to be; the cluster is told by whoever tried."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    # ------------------------------------------------------------------ the router's side

    def begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.served += 1
        self._reader.expect(exchange.request.method)
        host = self.host
        host.active += 1
        host.rq_total += 1

    def send_request(self, exchange: Exchange, request: Request, end: bool) -> None:
        self.request_done = end
        if request.length == UNTIL_CLOSE:
            if request.upgrade:
                self._reader.expect_upgrade()
            self.send(self._spelled(tunnel_head(request)))
        elif not end:
            self.send(self._head(request))
        elif request.length == CHUNKED:
            self.send_whole(self._head(request) + LAST_CHUNK)
        else:
            self.send_whole(self._head(request))

    def _spelled(self, head: bytes) -> bytes:
        return proper_case(head) if self.cluster.config.http.http1.proper_case else head

    def send_data(self, exchange: Exchange, data: bytes) -> None:
        self.send(chunk(data) if exchange.request.length == CHUNKED else data)

    def end_request(self, exchange: Exchange, trailers: Headers | None) -> None:
        if exchange.request.length == CHUNKED:
            self.send(last_chunk(trailers if self._reader.keeps_trailers else None))
        self.request_done = True

    def abandon(self, exchange: Exchange) -> None:
        """HTTP/1 can't give up a request but by closing."""
        if self.exchange is exchange:
            self._cut()
            self._done()

    def hand_over(self, exchange: Exchange, other: Exchange) -> None:
        if self.exchange is exchange:
            self.exchange = other

    def pause_reading(self, exchange: Exchange) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self, exchange: Exchange) -> None:
        if self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    # ------------------------------------------------------------------ the codec's side

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        exchange = self.exchange
        if exchange is not None:
            if end:
                self._finish()
            exchange.on_response(response, data, end)

    def on_informational(self, status: int, headers: Headers) -> None:
        if self.exchange is not None:
            self.exchange.on_informational(status, headers)

    def on_data(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.on_data(data)

    def on_end(self, trailers: Headers | None) -> None:
        exchange = self.exchange
        if exchange is not None:
            self._finish()
            exchange.on_end(trailers)

    # ------------------------------------------------------------------ its own life

    def close(self) -> None:
        """Closes once what was said is written; the host forgets it now."""
        transport = self.transport
        if transport is not None:
            self.write_out()
            self._forget()
            transport.close()

    def retire(self) -> None:
        self.generation = RETIRED
        if self.exchange is None:
            self.close()

    @property
    def active(self) -> int:
        return int(self.exchange is not None)

    def _finish(self) -> None:
        """The response is whole. The connection is free before its end is passed on, so that a
        request pipelined behind finds it. With the request not yet whole, it is of no more use."""
        if self.request_done:
            self._release()
        else:
            self._done()
            self._cut()

    def _release(self) -> None:
        """The exchange is over, and well: on to the next one, if the connection may live."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._paused:
            self.resume_reading(exchange)
        self.exchange = None
        cluster, host = self.cluster, self.host
        host.active -= 1
        self.breaker.requests -= 1
        self.idle_since = cluster.now
        if not self._reader.keep_alive or host.removed or self.transport is None:
            self.close()
        elif self.served >= self._serves_at_most:
            cluster.stats.upstream_cx_max_requests.value += 1
            self.close()
        else:
            self.pool.on_idle(self)

    def _cut(self) -> None:
        """Closes now: a peer that takes nothing would keep an orderly close waiting for ever."""
        transport = self.transport
        self._forget()
        if transport is not None:
            transport.abort()

    def _break(self, reason: str, detail: str) -> None:
        self._cut()
        self._reset(reason, detail)

    def _reset(self, reason: str, detail: str) -> None:
        exchange = self.exchange
        if exchange is not None:
            self._done()
            exchange.on_reset(reason, detail)

    def _done(self) -> None:
        """The exchange is over, and so will be the connection."""
        self.exchange = None
        self.host.active -= 1
        self.breaker.requests -= 1

    def _forget(self, by_peer: bool = False) -> None:
        """Out of the pool's books, once."""
        if self.transport is None:
            return
        self.transport = None
        if self._adopted:
            self.pool.on_closed(self, by_peer, self.exchange is not None)
