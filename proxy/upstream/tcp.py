"""One TCP connection to a host, for one downstream connection: opened for it, never shared.

Envoy's books: it counts for the cluster's breaker from the first try, as a request too (least
request balancing goes by that), and outlier detection hears how connecting went.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from proxy.tasks import spawn
from proxy.upstream.breaker import Breaker
from proxy.upstream.dial import DialFailure, dial
from proxy.upstream.host import Host
from proxy.upstream.preface import preface
from proxy.upstream.source import source_of
from proxy.upstream.tcp_end import TcpEnd

if TYPE_CHECKING:
    import asyncio

    from proxy.upstream.cluster import Cluster

# What TLS still has to write when we close it may take a slow peer this long (either side's).
CLOSE_NOTIFY_WAIT_S = 60.0


class TcpUser(Protocol):
    """Whom a connection is for."""

    def on_open(self) -> None:
        """It is connected and its peer verified. It reads only after `start`."""

    def on_open_failed(self, failure: DialFailure) -> None: ...
    def on_upstream_data(self, data: bytes) -> None: ...
    def on_upstream_eof(self) -> None: ...
    def on_upstream_writable(self, writable: bool) -> None: ...
    def on_upstream_lost(self, error: Exception | None) -> None: ...


class UpstreamTcp(TcpEnd):
    """user is None once it wants to hear no more: then the connection only ends."""

    __slots__ = (
        "_for_http",
        "_received",
        "_sent",
        "breaker",
        "cluster",
        "host",
        "is_open",
        "started",
        "user",
    )

    def __init__(self, cluster: Cluster, host: Host, user: TcpUser, for_http: bool = False) -> None:
        """Counts from here on; `opened`, `failed` and the end tell the rest. for_http: the router
        counts the request."""
        super().__init__()
        self._for_http = for_http
        self.cluster = cluster
        self.host = host
        self.user: TcpUser | None = user
        self.breaker: Breaker = cluster.breakers["DEFAULT"]
        self.started = monotonic()
        self.is_open = False
        self._received = cluster.stats.upstream_cx_rx_bytes_total
        self._sent = cluster.all_stats.counter(f"{cluster.prefix}upstream_cx_tx_bytes_total")
        self.breaker.connections += 1
        self.breaker.requests += 1
        cluster.stats.upstream_cx_total.value += 1
        cluster.stats.upstream_rq_pending_total.value += 1
        host.cx_total += 1
        host.active += 1

    # ------------------------------------------------------------------ how connecting went

    def opened(self, now: float) -> None:
        """Envoy: a local origin success, which ends a row of failures."""
        host = self.host
        self.is_open = True
        host.connections.add(self)
        host.rq_total += 1
        if not self._for_http:
            self.cluster.stats.upstream_rq_total.value += 1
        self.cluster.stats.upstream_cx_connect_ms.record((now - self.started) * 1000)
        if host.monitor is not None:
            host.monitor.on_tcp_connected(now)
        if self.user is not None:
            self.user.on_open()
        else:
            self.abort()

    def failed(self, failure: DialFailure, now: float) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()
        self._leave()
        self.host.cx_connect_fail += 1
        stats = self.cluster.stats
        stats.upstream_cx_destroy.value += 1
        stats.upstream_cx_connect_fail.value += 1
        stats.upstream_rq_pending_failure_eject.value += 1
        if failure.timed_out:
            stats.upstream_cx_connect_timeout.value += 1
        self.cluster.on_local_error(self.host, now)
        if self.user is not None:
            self.user.on_open_failed(failure)

    def _leave(self) -> None:
        self.breaker.connections -= 1
        self.breaker.requests -= 1
        self.host.active -= 1

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        limit = self.cluster.config.per_connection_buffer_limit_bytes
        self.transport.set_write_buffer_limits(high=limit)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if not self.is_open:
            return  # whoever dials is told
        self.is_open = False
        self._leave()
        self.host.connections.discard(self)
        self.cluster.stats.upstream_cx_destroy.value += 1
        if self.user is not None:
            self.user.on_upstream_lost(exc)

    def on_data(self, data: bytes) -> None:
        self._received.value += len(data)
        if self.user is not None:
            self.user.on_upstream_data(data)

    def on_eof(self) -> None:
        if self.user is not None:
            self.user.on_upstream_eof()

    def on_writable(self, writable: bool) -> None:
        if self.user is not None:
            self.user.on_upstream_writable(writable)

    def write(self, data: bytes) -> None:
        self._sent.value += len(data)
        super().write(data)


OpenTcp = Callable[[UpstreamTcp], None]


def open_tcp(connection: UpstreamTcp) -> None:
    """Connects it in the background; it hears `opened` or `failed`."""
    spawn(_open(connection), f"connect {connection.cluster.name} {connection.host.text}")


async def _open(connection: UpstreamTcp) -> None:
    cluster = connection.cluster
    begin, info = b"", getattr(connection.user, "info", None)
    if cluster.config.proxy_protocol is not None:
        begin = preface(cluster.config.proxy_protocol, info)
    failure = await dial(
        *(cluster, connection.host, connection, CLOSE_NOTIFY_WAIT_S),
        preface=begin,
        source=source_of(info),
    )
    if failure is not None:
        connection.failed(failure, monotonic())
    else:
        connection.opened(monotonic())
