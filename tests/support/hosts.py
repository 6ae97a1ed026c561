"""A cluster and its connections without sockets, and exchanges that remember what they hear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from proxy.config import model
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.stats import Stats
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.http2 import UpstreamH2
from proxy.upstream.pool import Carrier, Connection, Pool
from tests.support.fake_loop import FakeLoop, FakeTransport

GET = Request(b"GET", b"/", b"a", Headers())


def a_host(number: int, weight: int = 1, healthy: bool = True, priority: int = 0) -> Host:
    host = Host(model.SocketAddress(f"10.0.0.{number}", 80))
    health: model.HealthStatus = "HEALTHY" if healthy else "UNHEALTHY"
    host.describe(model.Endpoint(host.address, health, weight), ("", "", ""), priority)
    return host


def endpoint(number: int, **fields: Any) -> model.Endpoint:
    return model.Endpoint(model.SocketAddress(f"10.0.0.{number}", 80), **fields)


def assignment(*endpoints: model.Endpoint, **fields: Any) -> model.ClusterLoadAssignment:
    group = model.LocalityEndpoints(("", "", ""), endpoints)
    return model.ClusterLoadAssignment("a", (group,), **fields)


@dataclass(eq=False)
class Asked:
    """An exchange: `heard` is what its connection told it."""

    breaker: Breaker
    request: Request = GET
    up_id: int = 0
    heard: list[str] = field(default_factory=list)
    connection: Carrier | None = None

    def on_connected(self, connection: Carrier) -> None:
        self.connection = connection
        self.heard.append("connected")

    def on_informational(self, status: int, headers: Headers) -> None:
        self.heard.append(f"informational {status}")

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        self.heard.append(f"response {response.status}")

    def on_data(self, data: bytes) -> None:
        self.heard.append("data")

    def on_end(self, trailers: Headers | None) -> None:
        self.heard.append("end")

    def on_reset(self, reason: str, detail: str = "") -> None:
        self.heard.append(f"reset {reason}")

    def on_writable(self, writable: bool) -> None:
        self.heard.append(f"writable {writable}")


class House:
    """One cluster whose connections come to be when the test says so."""

    def __init__(
        self,
        *endpoints: model.Endpoint,
        tls_for: Callable[[Host], object] = lambda host: None,
        **fields: Any,
    ) -> None:
        self.loop = FakeLoop()
        self.stats = Stats()
        self.openings: list[Pool] = []
        config = model.Cluster("a", **fields)
        self.cluster = Cluster(config, self.stats, Random(1), self._open, tls_for)
        self.cluster.set_endpoints(assignment(*(endpoints or (endpoint(1),))))

    @property
    def hosts(self) -> list[Host]:
        return self.cluster.hosts

    def _open(self, pool: Pool) -> None:
        self.openings.append(pool)

    def ask(self, host: Host | None = None, priority: str = "DEFAULT") -> Asked:
        """Leases a connection; "full" is heard when the queue is."""
        asked = Asked(self.cluster.breakers[priority])
        if not self.cluster.lease(host or self.hosts[0], asked.breaker, asked):
            asked.heard.append("full")
        return asked

    def asked(self, priority: str) -> Asked:
        """An exchange that has not asked for anything yet."""
        return Asked(self.cluster.breakers[priority])

    def accept(self) -> UpstreamH1:
        pool = self.openings.pop(0)
        connection = UpstreamH1(pool)
        self._open_for(pool, connection)
        return connection

    def accept_h2(self) -> UpstreamH2:
        pool = self.openings.pop(0)
        connection = UpstreamH2(pool)
        self._open_for(pool, connection)
        return connection

    def _open_for(self, pool: Pool, connection: UpstreamH1 | UpstreamH2) -> None:
        connection.connection_made(FakeTransport(self.loop, connection))
        connection.adopt(self.cluster.now)
        pool.on_open(connection, 1.0)

    def fail(self) -> None:
        self.openings.pop(0).on_open_failed("connection failure", "refused", False)

    def answer(self, connection: UpstreamH1, extra: bytes = b"") -> None:
        connection.request_done = True
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + extra + b"\r\n")

    def count(self, name: str) -> int:
        for table in (self.stats.counters, self.stats.gauges):
            if f"cluster.a.{name}" in table:
                return table[f"cluster.a.{name}"].value
        raise KeyError(name)

    def ready(self, at: int = 0) -> list[Connection]:
        """The connections of a host that could take an exchange now."""
        return [each for pool in self.hosts[at].pools.values() for each in pool.ready]
