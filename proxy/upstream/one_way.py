"""A gRPC stream of the proxy's own to a cluster, on which it tells and is answered nothing.

It is opened when there is something to tell and none is open. It shares the cluster's connections,
limits and statistics with everybody's requests. What it can't take at once is refused, so that
whoever tells keeps or drops it: nothing here grows beyond a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

from proxy.config.model.services import GrpcService
from proxy.http.grpc import framed
from proxy.http.grpc_call import call_head
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Request, Response
from proxy.upstream import retry
from proxy.upstream.asking import PRIORITY, tell_origin
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool import Carrier

MAX_WAITING_BYTES = 1024 * 1024
"""Of messages, while there is no connection yet."""
PAUSE_S = 1.0
"""Between the beginnings of two streams: a dead collector is not asked for more often."""


class OneWay:
    """path: of the method. clusters: the running ones, by name. now: monotonic seconds."""

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        service: GrpcService,
        path: bytes,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._clusters = clusters
        self._service = service
        self._path = path
        self._now = now
        self._stream: _Stream | None = None
        self._not_before = 0.0

    @property
    def fresh(self) -> bool:
        """Nothing was told on the stream yet."""
        stream = self._stream
        return stream is None or stream.over or stream.fresh

    def takes(self) -> bool:
        """Opens a stream if there is none. False: there is none, or no room in it."""
        stream = self._stream
        if stream is not None and stream.is_astray:
            stream.finish()
        if stream is None or stream.over:
            stream = self._stream = self._opened()
        return stream is not None and stream.has_room

    def tell(self, message: bytes) -> None:
        """Where it `takes` one."""
        assert self._stream is not None, "there is a stream that takes it"
        self._stream.tell(framed(message))

    def finish(self) -> None:
        """What was told is all; the next message opens another stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.finish()

    def _opened(self) -> _Stream | None:
        now = self._now()
        if self._stream is not None:
            self._not_before = self._stream.began + PAUSE_S
            self._stream = None
        cluster = self._clusters.get(self._service.cluster)
        if cluster is None or now < self._not_before:
            return None
        stream = _Stream(cluster, self._request(), now)
        if not stream.start():
            self._not_before = now + PAUSE_S
            return None
        return stream

    def _request(self) -> Request:
        service = self._service
        pairs = [(name.encode(), value.encode()) for name, value in service.metadata]
        head = call_head(self._path, service.told_authority, pairs, CHUNKED)
        if service.envoy_headers:
            tell_origin(head.headers)
        return head


class _Stream:
    """One stream (`pool.Exchange`). began: monotonic seconds. fresh: nothing was told on it yet."""

    __slots__ = (
        "_cluster",
        "_full",
        "_generation",
        "_host",
        "_up",
        "_waiting",
        "_waiting_bytes",
        "began",
        "breaker",
        "fresh",
        "over",
        "request",
        "up_id",
    )
    breaker: Breaker

    def __init__(self, cluster: Cluster, request: Request, now: float) -> None:
        self.request: Request = request
        self.up_id = 0
        self.breaker = cluster.breakers[PRIORITY]
        self.began = now
        self.over = False
        self.fresh = True
        self._cluster = cluster
        self._generation = 0
        self._host: Host | None = None
        self._up: Carrier | None = None
        self._full = False
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def start(self) -> bool:
        """False: there is no host, or the cluster has as much in flight as it may."""
        cluster = self._cluster
        host = self._host = cluster.pick() if cluster.pick_for is None else cluster.pick_for(None)
        if host is None:
            cluster.stats.upstream_cx_none_healthy.value += 1
        else:
            self._generation = cluster.serving(host).generation
            if cluster.lease(host, self.breaker, self):
                return not self.over
        cluster.stats.statuses.add(503)
        self.over = True
        return False

    @property
    def has_room(self) -> bool:
        return not self._full and self._waiting_bytes < MAX_WAITING_BYTES

    @property
    def is_astray(self) -> bool:
        """The cluster has no such host any more, or other TLS material: requests would end soon,
        and this would go on there for ever."""
        host = self._host
        if host is None:
            return False
        return host.removed or self._cluster.serving(host).generation != self._generation

    def tell(self, message: bytes) -> None:
        self.fresh = False
        if self._up is not None:
            self._up.send_data(self, message)
        else:
            self._waiting.append(message)
            self._waiting_bytes += len(message)

    def finish(self) -> None:
        if self.over:
            return
        self.over = True
        if self._up is not None and self._full:  # whoever reads nothing hears of no end
            self._up.abandon(self)
        elif self._up is not None:
            self._up.end_request(self, None)
        elif self._host is not None:
            self._cluster.cancel_pending(self._host, self.breaker, self)

    # ------------------------------------------------------------------ what the connection tells

    def on_connected(self, connection: Carrier) -> None:
        self._up = connection
        connection.cluster.stats.upstream_rq_total.value += 1
        connection.send_request(self, self.request, False)
        waiting, self._waiting = self._waiting, []
        if waiting:
            connection.send_data(self, b"".join(waiting))
        self._waiting_bytes = 0

    def on_informational(self, status: int, headers: Headers) -> None:
        return

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        assert self._up is not None and self._host is not None
        cluster = self._up.cluster
        cluster.on_response(self._host, self.request, response, monotonic())
        cluster.stats.statuses.add(response.status)
        if end:
            self.on_end(None)

    def on_data(self, data: bytes) -> None:
        """Of no interest."""

    def on_end(self, trailers: Headers | None) -> None:
        self.over = True
        self._up = self._host = None

    def on_reset(self, reason: str, detail: str = "") -> None:
        if self._host is not None and reason != retry.OVERFLOW:
            self._cluster.on_local_error(self._host, monotonic())
        self._cluster.stats.statuses.add(503)
        self.over = True
        self._up = self._host = None
        self._waiting = []

    def on_writable(self, writable: bool) -> None:
        self._full = not writable
