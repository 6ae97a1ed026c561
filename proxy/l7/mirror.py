"""Copies of requests for other clusters, whose answers nobody waits for (Envoy's shadowing).

A copy goes out as the request comes in. Whatever becomes of it changes nothing for the client; it
holds a connection, counts in its cluster's limits and ends with the route's timeout. What waits for
a connection is bounded: a copy that would need more is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.upstream.asking import local_address
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool import Carrier

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

SUFFIX = b"-shadow"


@dataclass(frozen=True, slots=True, eq=False)
class Mirror:
    """A policy. wanted: whether this request is copied. choose: who gets it. edit: of the copy's
    headers. host: of the copy, b'' for the request's own with a suffix (or, keeps_host, without).
    """

    wanted: Callable[[], bool]
    choose: Callable[[Stream], Cluster | None]
    edit: Callable[[Stream, Headers], None] | None
    host: bytes
    keeps_host: bool


def begin(stream: Stream, body: list[bytes]) -> None:
    """The request is being sent: so are its copies. body: what there was of it before. A CONNECT
    has none."""
    entry = stream.route
    assert entry is not None
    if stream.request.method == b"CONNECT" or stream.request.upgrade:
        return
    started = []
    for mirror in entry.mirrors:
        if mirror.wanted() and (cluster := mirror.choose(stream)) is not None:
            shadow = Shadow(stream, cluster, _copy(stream, mirror), entry.priority)
            if shadow.start():
                started.append(shadow)
    if not started:
        return
    stream.shadows = tuple(started)
    for data in body:
        send_data(stream, data)
    if stream.request_done:
        end(stream, stream.trailers)


def send_data(stream: Stream, data: bytes) -> None:
    for shadow in stream.shadows:
        shadow.send(data)


def end(stream: Stream, trailers: Headers | None) -> None:
    """The request is whole: from here on its copies go their own way."""
    for shadow in stream.shadows:
        shadow.end(trailers)
    stream.shadows = ()


def hold_up(stream: Stream) -> bool:
    """Is a copy taken too slowly for more of the request to be read?"""
    return any(shadow.full for shadow in stream.shadows)


def cancel(stream: Stream) -> None:
    """The request will never be whole."""
    for shadow in stream.shadows:
        shadow.cancel()
    stream.shadows = ()


def _copy(stream: Stream, mirror: Mirror) -> Request:
    request = stream.request
    headers = Headers(request.headers.shape, request.headers.values)
    if mirror.edit is not None:
        mirror.edit(stream, headers)
    headers.set(b"x-envoy-internal", b"true")
    known = headers.joined(b"x-forwarded-for")
    own = local_address()
    headers.set(b"x-forwarded-for", b"%b,%b" % (known, own) if known else own)
    host = request.authority if mirror.keeps_host else shadow_host(request.authority)
    return Request(
        request.method,
        request.path,
        mirror.host or host,
        headers,
        request.length,
        request.version,
        request.scheme,
    )


def shadow_host(authority: bytes) -> bytes:
    """The suffix comes before the port."""
    colon = authority.rfind(b":")
    if colon < 0 or authority.find(b"]", colon) >= 0:
        return authority + SUFFIX
    return authority[:colon] + SUFFIX + authority[colon:]


class Shadow:
    """One copy on its way: an exchange (`pool.Exchange`) without a client."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_cluster",
        "_done",
        "_host",
        "_limit_bytes",
        "_over",
        "_sent_at",
        "_stream",
        "_timeout_s",
        "_timer",
        "_trailers",
        "_up",
        "breaker",
        "full",
        "request",
        "up_id",
    )  # fmt: skip

    def __init__(self, stream: Stream, cluster: Cluster, request: Request, priority: str) -> None:
        self.request = request
        self.breaker: Breaker = cluster.breakers[priority]
        self.up_id = 0
        self._stream = stream
        self._cluster = cluster
        self._host: Host | None = None
        self._up: Carrier | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._limit_bytes = cluster.config.per_connection_buffer_limit_bytes
        self._trailers: Headers | None = None
        self._timeout_s = stream.timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self._done = self._over = self.full = False

    def start(self) -> bool:
        """False: there is nobody to send it to."""
        cluster = self._cluster
        pick_for = cluster.pick_for
        host = self._host = cluster.pick() if pick_for is None else pick_for(self._stream)
        if host is None:
            cluster.stats.upstream_cx_none_healthy.value += 1
            cluster.stats.statuses.add(503)
            return False
        if not cluster.lease(host, self.breaker, self):
            cluster.stats.statuses.add(503)
            return False
        return not self._over

    # ------------------------------------------------------------------ the request

    def send(self, data: bytes) -> None:
        if self._over:
            return
        if self._up is not None:
            self._up.send_data(self, data)
            return
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._limit_bytes:
            self.cancel()

    def end(self, trailers: Headers | None) -> None:
        if self._over:
            return
        self._done, self._trailers, self._sent_at = True, trailers, monotonic()
        if self._timeout_s:
            worker = self._stream.manager.worker
            self._timer = worker.call_later(self._timeout_s, self._on_timeout)
        if self._up is not None:
            self._up.end_request(self, trailers)

    def cancel(self) -> None:
        if self._over:
            return
        self._finish()
        if self._up is not None:
            self._up.abandon(self)
        elif self._host is not None:
            self._cluster.cancel_pending(self._host, self.breaker, self)

    def _on_timeout(self) -> None:
        self._cluster.stats.upstream_rq_timeout.value += 1
        self._cluster.stats.statuses.add(504)
        self.cancel()

    def _finish(self) -> None:
        self._over = True
        self._body = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.full:
            self._let_on()

    # ------------------------------------------------------------------ what the connection tells

    def on_connected(self, connection: Carrier) -> None:
        self._up = connection
        self._cluster.stats.upstream_rq_total.value += 1
        body, self._body = self._body, []
        if self._done and not body and self._trailers is None:
            connection.send_request(self, self.request, True)
            return
        connection.send_request(self, self.request, False)
        for data in body:
            connection.send_data(self, data)
        if self._done:
            connection.end_request(self, self._trailers)

    def on_informational(self, status: int, headers: Headers) -> None:
        return

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        assert self._host is not None
        now = monotonic()
        self._cluster.on_response(self._host, self.request, response, now)
        self._cluster.stats.statuses.add(response.status)
        if self._sent_at:
            self._cluster.stats.upstream_rq_time.record((now - self._sent_at) * 1000)
        if end:
            self._finish()

    def on_data(self, data: bytes) -> None:
        return

    def on_end(self, trailers: Headers | None) -> None:
        self._finish()

    def on_reset(self, reason: str, detail: str = "") -> None:
        assert self._host is not None
        self._cluster.on_local_error(self._host, monotonic())
        self._cluster.stats.statuses.add(503)
        self._finish()

    def on_writable(self, writable: bool) -> None:
        """A copy that is taken too slowly slows its request down (Envoy)."""
        if self._done or self._over:
            return
        if writable:
            self._let_on()
        else:
            self.full = True
            self._stream.down.pause_reading(self._stream)

    def _let_on(self) -> None:
        """The request may go on, if nobody else holds it up."""
        self.full = False
        stream = self._stream
        own = stream.responded or (stream.up is not None and not stream.holds)
        if own and not stream.up_full and not stream.ended and not hold_up(stream):
            stream.down.resume_reading(stream)
