"""A host's connections of one priority, and who waits for one (Envoy's connection pool).

    connecting -> ready <-> busy -> closed

A ready connection has room for an exchange: HTTP/1 for one, HTTP/2 for as many as its peer allows.
The one that was used last is used first, which lets the others grow old and close. When none is
ready, the exchange waits, and the first connection with room takes it, be it the one opened for it
or another. Where a cluster's hosts are spoken to in several ways (by the client's protocol, by
server name), each way is a pool of its own.

Decisions only: opening a connection is handed in by the cluster, so that this can be tested.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.upstream import retry
from proxy.upstream.breaker import Breaker
from proxy.upstream.host import Host
from proxy.upstream.way import Version, Way

if TYPE_CHECKING:
    from proxy.connection import Secured
    from proxy.outbox import Pipe
    from proxy.upstream.cluster import Cluster

RETIRED = -1  # the generation of a connection that takes on nothing more
# How many connections one event may open (Envoy's number).
MAX_OPENED_AT_ONCE = 3


class Exchange(Protocol):
    """One attempt to have a request answered, as a connection sees it: the router's side.

    up_id: the connection's own number for it (HTTP/2: the stream id)."""

    request: Request
    breaker: Breaker
    up_id: int

    def on_connected(self, connection: Carrier) -> None:
        """It has a connection now and may send."""

    def on_informational(self, status: int, headers: Headers) -> None: ...
    def on_response(self, response: Response, data: bytes, end: bool) -> None: ...
    def on_data(self, data: bytes) -> None: ...
    def on_end(self, trailers: Headers | None) -> None: ...

    def on_reset(self, reason: str, detail: str = "") -> None:
        """It is over without (the rest of) a response; the connection may live on."""

    def on_writable(self, writable: bool) -> None:
        """What was sent is not taken fast enough (False), or there is room again."""


class Carrier(Protocol):
    """What an exchange knows of the connection that carries it. local: our own address. secured:
    its TLS. protocol:
    as the access log calls it. generation: the cluster's when it was made."""

    cluster: Cluster
    host: Host
    breaker: Breaker
    generation: int
    local: tuple[str, int] | None
    secured: Secured | None

    @property
    def protocol(self) -> str: ...

    def send_request(self, exchange: Exchange, request: Request, end: bool) -> None:
        """The head. end: no body follows."""

    def send_data(self, exchange: Exchange, data: bytes) -> None: ...
    def end_request(self, exchange: Exchange, trailers: Headers | None) -> None: ...

    def abandon(self, exchange: Exchange) -> None:
        """`exchange` gives up: it is told nothing more."""

    def hand_over(self, exchange: Exchange, other: Exchange) -> None:
        """What comes for `exchange` is for `other` from now on, and the other way about."""

    def pause_reading(self, exchange: Exchange) -> None: ...
    def resume_reading(self, exchange: Exchange) -> None: ...


class Connection(Carrier, Protocol):
    """What a pool knows of a connection.

    spare: how many exchanges it could take now. expects: how many more it will, by what is known
    of its peer. active: how many it has."""

    pool: Pool
    transport: Pipe | None
    idle_since: float
    opened_at: float
    spare: int
    expects: int

    @property
    def active(self) -> int: ...

    def begin(self, exchange: Exchange) -> None: ...

    def retire(self) -> None:
        """Takes on nothing more, and closes when its last exchange is over."""

    def close(self) -> None: ...


class Pool:
    """ready: connections with room, the last one is next. key: its place among the host's pools.
    connecting: how many connections are on their way."""

    __slots__ = (
        "_eager",
        "_expected",
        "_room_of_new",
        "breaker",
        "cluster",
        "connecting",
        "connections",
        "host",
        "key",
        "pending",
        "ready",
        "way",
    )

    def __init__(
        self, cluster: Cluster, host: Host, breaker: Breaker, way: Way, key: object
    ) -> None:
        self.cluster = cluster
        self.host = host
        self.breaker = breaker
        self.way = way
        self.key = key
        self.ready: list[Connection] = []
        self.connections: set[Connection] = set()
        self.pending: deque[Exchange] = deque()
        self.connecting = 0
        self._expected = 0
        self._eager = cluster.config.preconnect.per_upstream > 1.0
        self._room_of_new = _room_of_new(cluster, way.version)

    # ------------------------------------------------------------------ exchanges

    def lease(self, exchange: Exchange) -> bool:
        """Gets `exchange` a connection, now or later. False: a circuit breaker forbids it."""
        ready = self.ready
        breaker = self.breaker
        while ready:
            connection = ready.pop()
            if connection.transport is None:  # its peer may have closed it in this very turn
                continue
            if breaker.requests >= breaker.max_requests:
                ready.append(connection)
                self.cluster.stats.upstream_rq_active_overflow.value += 1
                return False
            breaker.requests += 1
            if connection.spare > 1:
                ready.append(connection)
            connection.begin(exchange)
            exchange.on_connected(connection)
            if self._eager:
                self.connect_more()
            return True
        return self._wait(exchange)

    def _wait(self, exchange: Exchange) -> bool:
        stats, breaker = self.cluster.stats, self.breaker
        if breaker.pending >= breaker.max_pending:
            stats.upstream_rq_pending_overflow.value += 1
            return False
        breaker.pending += 1
        stats.upstream_rq_pending_total.value += 1
        self.pending.append(exchange)
        self.connect_more()
        return True

    def cancel(self, exchange: Exchange) -> bool:
        """`exchange` no longer waits. False: it did not wait here."""
        try:
            self.pending.remove(exchange)
        except ValueError:
            return False
        self.breaker.pending -= 1
        self.cluster.stats.upstream_rq_cancelled.value += 1
        return True

    def take_pending(self) -> list[Exchange]:
        """Who waits here, and does no more."""
        waiting = list(self.pending)
        self.pending.clear()
        self.breaker.pending -= len(waiting)
        return waiting

    def _serve_queue(self) -> None:
        while self.pending and self.ready:
            exchange = self.pending.popleft()
            self.breaker.pending -= 1
            if not self.lease(exchange):
                exchange.on_reset(retry.OVERFLOW)

    # ------------------------------------------------------------------ opening

    def connect_more(self, foresight: float = 0.0) -> bool:
        """As many as are wanted and allowed. A pool may always have one (Envoy's rule), or what
        waits would wait for ever. foresight: `predictive_preconnect_ratio`, for one that may be
        picked next. False: none was opened, or the last one above the limit."""
        opened = False
        for _ in range(MAX_OPENED_AT_ONCE):
            if not self._wants_connection(foresight):
                return opened
            allowed = self.breaker.connection_allowed(self.host)
            if not allowed:
                self.cluster.stats.upstream_cx_overflow.value += 1
                if self.connections or self.connecting:
                    return False
            self._start()
            opened = allowed
            if not allowed or foresight:
                return opened
        return opened

    @property
    def room(self) -> int:
        """For how many exchanges more there is a connection, or one on its way."""
        ready = sum(connection.spare for connection in self.ready)
        return self.connecting * self._room_of_new + self._expected + ready

    @property
    def active(self) -> int:
        return sum(connection.active for connection in self.connections)

    def _wants_connection(self, foresight: float) -> bool:
        waiting = len(self.pending)
        if not (self._eager or foresight) or not self.host.healthy:
            return waiting > self.connecting * self._room_of_new + self._expected
        active = self.active
        ratio = foresight or self.cluster.config.preconnect.per_upstream
        return (waiting + active + (foresight > 0)) * ratio > self.room + active

    def _start(self) -> None:
        self.connecting += 1
        self.breaker.connections += 1
        stats = self.cluster.stats
        stats.upstream_cx_total.value += 1
        self._count_version(self.way.version)
        self.host.cx_total += 1
        self.cluster.open(self)

    def _count_version(self, version: Version) -> None:
        stats = self.cluster.stats
        if version == "HTTP1":
            stats.upstream_cx_http1_total.value += 1
        elif version == "HTTP2":
            stats.upstream_cx_http2_total.value += 1

    def on_negotiated(self, version: Version) -> None:
        """ALPN has told what the host speaks; the next one will most likely be as this one."""
        self._count_version(version)
        self._room_of_new = _room_of_new(self.cluster, version)

    # ------------------------------------------------------------------ connections report

    def on_open(self, connection: Connection, took_ms: float) -> None:
        self.connecting -= 1
        self._expected += connection.expects
        self.connections.add(connection)
        self.host.connections.add(connection)
        self.cluster.stats.upstream_cx_connect_ms.record(took_ms)
        self.on_idle(connection)
        if self.pending or self._eager:
            self.connect_more()

    def on_open_failed(self, reason: str, detail: str, timed_out: bool) -> None:
        """All that wait fail with it, unless another connection is on its way."""
        self.connecting -= 1
        self.host.cx_connect_fail += 1
        self.breaker.connections -= 1
        stats = self.cluster.stats
        stats.count_destroyed(not timed_out, False)
        stats.upstream_cx_connect_fail.value += 1
        if timed_out:
            stats.upstream_cx_connect_timeout.value += 1
        while self.pending and self.connecting * self._room_of_new < len(self.pending):
            exchange = self.pending.popleft()
            self.breaker.pending -= 1
            stats.upstream_rq_pending_failure_eject.value += 1
            exchange.on_reset(reason, detail)
        self._drop_if_empty()

    def on_idle(self, connection: Connection) -> None:
        """It has room: the first in the queue takes it, or it waits to be leased."""
        if connection.generation != self.cluster.generation:
            connection.retire()  # who waits gets one made with the TLS material of now
        elif self.pending:
            self.ready.append(connection)
            self._serve_queue()
            if self.host.removed and not connection.active:
                connection.retire()
        elif self.host.removed:
            connection.retire()
        else:
            self.ready.append(connection)

    def on_settings(self, connection: Connection, room: int) -> None:
        """Its peer has said how many exchanges it takes: room is left for so many."""
        self._expected -= connection.expects
        connection.expects = 0
        was, connection.spare = connection.spare, room
        if room and not was:
            self.on_idle(connection)
        elif was and not room:
            self.withdraw(connection)
        if self.pending:
            self.connect_more()

    def withdraw(self, connection: Connection) -> None:
        """It takes on nothing more, for now or for ever."""
        if connection in self.ready:
            self.ready.remove(connection)

    def on_closed(self, connection: Connection, by_peer: bool, busy: bool) -> None:
        """busy: with an exchange under way."""
        self.connections.discard(connection)
        self.host.connections.discard(connection)
        self._expected -= connection.expects
        self.withdraw(connection)
        self.breaker.connections -= 1
        self.cluster.stats.count_destroyed(by_peer, busy)
        if self.pending:
            self.connect_more()
        self._drop_if_empty()

    def _drop_if_empty(self) -> None:
        """Names come with requests: a pool without connections is not kept for its name."""
        if not (self.connections or self.connecting or self.pending):
            pools = self.host.pools
            if pools.get(self.key) is self:
                del pools[self.key]
                self.breaker.pools -= 1

    # ------------------------------------------------------------------ time and the end

    def retire(self) -> None:
        """Idle connections close now, the others after their last exchange."""
        for connection in list(self.connections):
            connection.retire()

    def sweep(self, now: float, idle_s: float | None, age_s: float | None) -> None:
        """Once a second or so: connections that are idle for too long, or too old."""
        stats = self.cluster.stats
        if idle_s:
            for connection in list(self.ready):
                if not connection.active and now - connection.idle_since > idle_s:
                    stats.upstream_cx_idle_timeout.value += 1
                    connection.close()
        if age_s:
            for connection in list(self.connections):
                if now - connection.opened_at > age_s and connection.generation != RETIRED:
                    stats.upstream_cx_max_duration_reached.value += 1
                    connection.retire()


def _room_of_new(cluster: Cluster, version: Version) -> int:
    """How many exchanges a connection will take that is not open yet, as far as one can tell."""
    if version == "HTTP1":
        return 1
    http = cluster.config.http
    most = http.max_requests_per_connection or http.http2.max_concurrent_streams
    return min(most, http.http2.max_concurrent_streams)
