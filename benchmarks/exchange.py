"""A whole proxy in memory: bytes of a client and of an upstream in, what it writes swallowed.

The real rooms from the codec to the cluster, put together by `compile` as in the proxy; only the
sockets are missing. For `benchmarks.parts`, and to profile what a request costs without the kernel.
"""

from __future__ import annotations

import asyncio
from itertools import cycle
from random import Random
from typing import Any

from proxy.compile.runtime import Runtime
from proxy.config.filters.decode_router import TYPE_URL, RouterConfig
from proxy.config.model import (
    AccessLog,
    Cluster,
    ClusterLoadAssignment,
    Endpoint,
    FilterChain,
    FilterChainMatch,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    LocalityEndpoints,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    SocketAddress,
    VirtualHost,
)
from proxy.config.snapshot import Snapshot
from proxy.connection import ConnectionInfo
from proxy.l7.worker import Worker
from proxy.stats import Stats
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.pool import Pool

REQUEST = (
    b"GET /api/v1/items/%d?page=%d HTTP/1.1\r\nHost: messenger.default:8080\r\n"
    b"User-Agent: bench/1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    b"X-Trace-Id: %032x\r\nX-Tenant: t%d\r\nCookie: session=%016x\r\nAccept-Language: en\r\n"
    b"Authorization: Bearer %040x\r\nCache-Control: no-cache\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: up\r\nDate: Sat, 21 Nov 2026 05:44:52 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n"
) + b"x" * 100


def requests(count: int = 1000) -> list[bytes]:
    """Heads of the same ten names whose values differ in every one."""
    return [REQUEST % (n, n % 7, n * 7919, n, n * 104729, n * 15485863) for n in range(count)]


class Silence:
    """A transport that swallows what is written."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Exchange:
    """One client connection and one upstream connection with the proxy between them."""

    def __init__(self) -> None:
        self._upstreams: list[UpstreamH1] = []
        self._requests = cycle(requests())
        stats = Stats()
        worker = Worker(Random(1), stats)
        runtime = Runtime(worker, stats, self._open, _no_log)
        runtime.apply(_snapshot())
        chain = runtime.listeners["in"].chains[0]
        here, there = ("127.0.0.1", 80), ("127.0.0.1", 50000)
        client: Any = chain.connect(ConnectionInfo(there, here, here))
        client.connection_made(Silence())
        self._client = client

    def _open(self, pool: Pool) -> None:
        connection = UpstreamH1(pool)
        connection.connection_made(Silence())  # type: ignore[arg-type]
        connection.adopt(0.0)
        self._upstreams.append(connection)
        pool.on_open(connection, 1.0)

    def __call__(self) -> None:
        """One request and its answer."""
        self._client.data_received(next(self._requests))
        self._upstreams[-1].data_received(RESPONSE)


def _no_log(_: AccessLog) -> Any:
    raise AssertionError("the snapshot has no access log")


def _snapshot() -> Snapshot:
    place = LocalityEndpoints(("", "", ""), (Endpoint(SocketAddress("10.0.0.1", 80)),))
    cluster = Cluster("up", load_assignment=ClusterLoadAssignment("up", (place,)))
    route = Route(RouteMatch(prefix="/"), RouteAction(cluster="up"))
    routes = RouteConfiguration("r", (VirtualHost("all", ("*",), (route,)),))
    router = HttpFilter("router", TYPE_URL, RouterConfig())
    http = HttpConnectionManager("bench", route_config=routes, filters=(router,), codec="HTTP1")
    chain = FilterChain(FilterChainMatch(), http)
    listener = Listener("in", SocketAddress("127.0.0.1", 80), (chain,))
    return Snapshot({"in": listener}, {"up": cluster})


def main() -> None:
    """Profiles 5,000 exchanges: `python -m benchmarks.exchange`."""
    import cProfile
    import pstats

    async def run() -> None:
        exchange = Exchange()
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(5000):
            exchange()
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)

    asyncio.run(run())


if __name__ == "__main__":
    main()
