"""A TCP connection to a host for one CONNECT that ends here (Envoy's `connect_config`).

    connecting -> told the router (which sends nothing) -> 200 at once -> bytes both ways -> closed

To the router it is a connection like any other; to the cluster it is one of TCP.
"""

from __future__ import annotations

from proxy.connection import Secured
from proxy.http.headers import Headers
from proxy.http.message import UNTIL_CLOSE, Request, Response
from proxy.outbox import flush
from proxy.upstream import retry
from proxy.upstream.cluster import Cluster
from proxy.upstream.dial import DialFailure
from proxy.upstream.host import Host
from proxy.upstream.pool import Exchange
from proxy.upstream.tcp import OpenTcp, UpstreamTcp


class TcpTunnel:
    """first: what to say before the client's bytes (a PROXY header)."""

    local: tuple[str, int] | None = None
    secured: Secured | None = None
    protocol = ""

    __slots__ = ("_exchange", "_first", "_tcp", "breaker", "cluster", "generation", "host")

    def __init__(
        self,
        cluster: Cluster,
        host: Host,
        exchange: Exchange,
        open_tcp: OpenTcp,
        first: bytes = b"",
    ) -> None:
        self.cluster = cluster
        self.host = host
        self.breaker = exchange.breaker
        self.generation = cluster.generation
        self._exchange: Exchange | None = exchange
        self._first = first
        self._tcp = UpstreamTcp(cluster, host, self, for_http=True)
        open_tcp(self._tcp)

    # ------------------------------------------------------------------ the connection's side

    def on_open(self) -> None:
        if self._exchange is not None:
            self._exchange.on_connected(self)
        flush()

    def on_open_failed(self, failure: DialFailure) -> None:
        self._lose(failure.reason, failure.detail)

    def on_upstream_data(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.on_data(data)
        flush()

    def on_upstream_eof(self) -> None:
        """It has said all: so has the answer. What the client still says goes nowhere."""
        exchange, self._exchange = self._exchange, None
        self._tcp.finish()
        if exchange is not None:
            exchange.on_end(None)
        flush()

    def on_upstream_writable(self, writable: bool) -> None:
        if self._exchange is not None:
            self._exchange.on_writable(writable)
        flush()

    def on_upstream_lost(self, error: Exception | None) -> None:
        self._lose(retry.CONNECTION_TERMINATION, "")

    def _lose(self, reason: str, detail: str) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_reset(reason, detail)
        flush()

    # ------------------------------------------------------------------ the router's side

    def send_request(self, exchange: Exchange, request: Request, end: bool) -> None:
        """The head ends here: that there is a connection is the answer."""
        if self._first:
            self._tcp.write(self._first)
        exchange.on_response(Response(200, Headers(), UNTIL_CLOSE), b"", False)
        self._tcp.start()

    def send_data(self, exchange: Exchange, data: bytes) -> None:
        self._tcp.write(data)

    def end_request(self, exchange: Exchange, trailers: Headers | None) -> None:
        if self._tcp.can_half_close:
            self._tcp.write_eof()

    def abandon(self, exchange: Exchange) -> None:
        self._exchange = None
        self._tcp.user = None
        self._tcp.abort()

    def hand_over(self, exchange: Exchange, other: Exchange) -> None:
        if self._exchange is exchange:
            self._exchange = other

    def pause_reading(self, exchange: Exchange) -> None:
        self._tcp.pause_reading()

    def resume_reading(self, exchange: Exchange) -> None:
        self._tcp.resume_reading()
