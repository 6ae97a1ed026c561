"""A relayed TCP connection within HTTP: CONNECT or POST to a host that lets its bytes through
(Envoy's `tunneling_config`).

    waits for a connection of the cluster's -> asked -> 2xx: open -> bytes both ways -> closed

To the relay it is an upstream connection like one of TCP; to the cluster's pool an exchange like a
request. Over HTTP/1 a CONNECT has one end only: it can't say that the client has nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.config.model.listeners import Tunneling
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, UNTIL_CLOSE, Request, Response
from proxy.outbox import flush
from proxy.upstream import retry
from proxy.upstream.dial import DialFailure

if TYPE_CHECKING:
    from proxy.connection import ConnectionInfo
    from proxy.l4.record import ConnectionRecord
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host
    from proxy.upstream.pool import Carrier
    from proxy.upstream.tcp import TcpUser

RESPONSE_HEADERS: Final = "envoy.tcp_proxy.propagate_response_headers"
RESPONSE_TRAILERS: Final = "envoy.tcp_proxy.propagate_response_trailers"
CONNECT: Final = b"CONNECT"
OK: Final = 200

Value = Callable[["ConnectionRecord"], bytes]


@dataclass(frozen=True, slots=True)
class Tunnels:
    """How connections of one listener's chain are asked for. hostname: of one connection. headers:
    (name, value, whether it takes the place of one before it, whether an empty one is added)."""

    config: Tunneling
    hostname: Value
    headers: tuple[tuple[bytes, Value, bool, bool], ...] = ()

    def request(self, record: ConnectionRecord, scheme: bytes) -> Request:
        headers = Headers()
        for name, value_of, replaces, keeps_empty in self.headers:
            value = value_of(record)
            if not value and not keeps_empty:
                continue
            if replaces:
                headers.set(name, value)
            else:
                headers.add(name, value)
        host = self.hostname(record)
        if self.config.use_post:
            path = self.config.post_path.encode()
            return Request(b"POST", path, host, headers, CHUNKED, scheme=scheme)
        return Request(CONNECT, b"", host, headers, UNTIL_CLOSE, scheme=scheme)


class HttpTunnel:
    """One attempt, to one host (`pool.Exchange`, and what the relay wants of an upstream).

    user: None once it wants to hear no more."""

    __slots__ = (
        "_early",
        "_ended",
        "_record",
        "_started",
        "_tunnels",
        "_up",
        "breaker",
        "cluster",
        "host",
        "is_open",
        "request",
        "up_id",
        "user",
    )

    buffered = 0

    def __init__(
        self,
        tunnels: Tunnels,
        cluster: Cluster,
        host: Host,
        user: TcpUser,
        record: ConnectionRecord,
    ) -> None:
        self._tunnels = tunnels
        self._record = record
        self.cluster = cluster
        self.host = host
        self.user: TcpUser | None = user
        self.breaker = cluster.breakers["DEFAULT"]
        scheme = b"http" if host.tls is None else b"https"
        self.request = tunnels.request(record, scheme)
        self.up_id = 0
        self.is_open = False
        self._up: Carrier | None = None
        self._early: list[bytes] = []
        self._started = False
        self._ended = False

    @property
    def info(self) -> ConnectionInfo:
        """Of the client: the cluster may tell the host for whom a connection is."""
        return self._record.down.info

    def lease(self) -> bool:
        """False: a limit forbids it."""
        return self.cluster.lease(self.host, self.breaker, self)

    # ------------------------------------------------------------------ the pool's side

    def on_connected(self, connection: Carrier) -> None:
        self._up = connection
        self.cluster.stats.upstream_rq_total.value += 1
        connection.send_request(self, self.request, False)

    def on_informational(self, status: int, headers: Headers) -> None:
        """Nothing is open yet."""

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        user, up = self.user, self._up
        if user is None or up is None:
            self.abort()
            return
        if not self._agrees(response.status, up):
            if not end:
                up.abandon(self)
            self._up = None
            failure = f"tunnel_response:{response.status}"
            user.on_open_failed(DialFailure(retry.REMOTE_RESET, failure, False))
            return
        if self._tunnels.config.propagate_response_headers:
            status = (b":status", b"%d" % response.status)
            self._record.filter_state[RESPONSE_HEADERS] = _told([status, *response.headers])
        self.is_open = True
        user.on_open()
        if data:
            self.on_data(data)
        if end:
            self.on_end(None)

    def _agrees(self, status: int, up: Carrier) -> bool:
        """RFC 9110 section 9.3.6; over HTTP/2 Envoy takes nothing but 200."""
        return 200 <= status < 300 if up.protocol == "HTTP/1.1" else status == OK

    def on_data(self, data: bytes) -> None:
        if not self._started:
            self._early.append(data)
        elif self.user is not None:
            self.user.on_upstream_data(data)

    def on_end(self, trailers: Headers | None) -> None:
        if trailers is not None and self._tunnels.config.propagate_response_trailers:
            self._record.filter_state[RESPONSE_TRAILERS] = _told(list(trailers))
        self._up = None
        self._ended = True
        if self._started:
            self._tell_end()

    def _tell_end(self) -> None:
        """There is no way left to say anything, either."""
        user, self.user = self.user, None
        self.is_open = False
        if user is not None:
            user.on_upstream_eof()
            user.on_upstream_lost(None)

    def on_reset(self, reason: str, detail: str = "") -> None:
        user, up = self.user, self._up
        self.user = self._up = None
        if user is None:
            return
        if not self.is_open:
            why = detail if up is None else ""  # Envoy: of the transport only
            user.on_open_failed(DialFailure(reason, why, reason == retry.CONNECT_TIMEOUT))
            return
        self.is_open = False
        user.on_upstream_lost(ConnectionResetError(reason))

    def on_writable(self, writable: bool) -> None:
        if self.user is not None and self._started:
            self.user.on_upstream_writable(writable)

    # ------------------------------------------------------------------ the relay's side

    def start(self) -> None:
        self._started = True
        early, self._early = self._early, []
        for data in early:
            self.on_data(data)
        if self._ended:
            self._tell_end()

    @property
    def can_half_close(self) -> bool:
        return self._up is not None and (
            self.request.method != CONNECT or self._up.protocol != "HTTP/1.1"
        )

    def write(self, data: bytes) -> None:
        if self._up is not None:
            self._up.send_data(self, data)
            flush()

    def write_eof(self) -> None:
        if self._up is not None:
            self._up.end_request(self, None)
            flush()

    def pause_reading(self) -> None:
        if self._up is not None:
            self._up.pause_reading(self)

    def resume_reading(self) -> None:
        if self._up is not None:
            self._up.resume_reading(self)

    def finish(self) -> None:
        """Neither side has more to say."""
        self.abort()

    def reset(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Nobody is told; what was written is on its way."""
        self.user = None
        self.is_open = False
        up, self._up = self._up, None
        if up is not None:
            up.abandon(self)
        elif not self._ended:
            self.cluster.cancel_pending(self.host, self.breaker, self)
        self._ended = True
        flush()


def _told(pairs: list[tuple[bytes, bytes]]) -> dict[str, list[dict[str, str]]]:
    """As Envoy logs them."""
    words = [{"key": name.decode("latin-1"), "value": v.decode("latin-1")} for name, v in pairs]
    return {"headers": words}
