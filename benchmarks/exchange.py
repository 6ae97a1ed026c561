"""A whole proxy in memory: bytes of a client and of an upstream in, what it writes swallowed.

The real rooms from the codec to the cluster, put together by `compile` as in the proxy from the
bootstrap of `benchmarks.http1`; only the sockets are missing. For `benchmarks.parts`, and to
profile what a request costs without the kernel: `python -m benchmarks.exchange [feature]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.contenders import Place, bootstrap
from benchmarks.features import VHOSTS
from proxy.compile.runtime import Runtime
from proxy.config import bootstrap as bootstraps
from proxy.config.model import AccessLog
from proxy.config.snapshot import Snapshot
from proxy.connection import ConnectionInfo
from proxy.l7.access_log import AccessLogger
from proxy.l7.worker import Worker
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.pool import Pool

REQUEST = (
    b"GET /catalogue/%d/items?page=%d HTTP/1.1\r\nHost: shop-%d.test\r\n"
    b"Origin: https://shop.test\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate\r\nX-Trace-Id: %032x\r\nX-Tenant: acme\r\n"
    b"Cookie: session=%016x\r\nAccept-Language: en\r\nAuthorization: Bearer %040x\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: up\r\nDate: Sat, 21 Nov 2026 05:44:52 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n"
) + b"x" * 100


def requests(count: int = 1000) -> list[bytes]:
    """Heads of the same ten names whose values differ in every one."""
    return [
        REQUEST % (n, n % 7, n % VHOSTS, n * 7919, n * 104729, n * 15485863) for n in range(count)
    ]


class Silence:
    """A transport that swallows what is written. protocol: who took it over, if somebody did."""

    protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Exchange:
    """One client connection and one upstream connection with the proxy between them."""

    def __init__(self, feature: str = "router") -> None:
        self._upstreams: list[UpstreamH1] = []
        self._requests = cycle(requests())
        chain = start(self._open, feature)
        self._client = connect(chain, requests(1)[0])
        self._upstreams[-1].data_received(RESPONSE)

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


class Gone:
    """Where log lines go."""

    def write(self, line: bytes) -> None: ...


def start(open_connection: Callable[[Pool], None], feature: str = "router") -> Any:
    """A proxy's only filter chain, with a feature of `features.ALL`. open_connection: to its
    upstream. Where that speaks HTTP/2, so do clients."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bootstrap.json"
        file.write_text(json.dumps(bootstrap(Place(1, 2, 3, Path(folder), feature))))
        config = bootstraps.load(file)
    stats, values = Stats(), RuntimeValues()
    worker = Worker(Random(1), stats, values)

    def logger(log: AccessLog) -> AccessLogger:
        return AccessLogger(log, Gone(), worker.random, values)

    runtime = Runtime(worker, stats, open_connection, logger)
    listeners = {each.name: each for each in config.listeners}
    runtime.apply(Snapshot(listeners, {each.name: each for each in config.clusters}))
    return runtime.listeners["bench"].chains[0]


def connect(chain: Any, first: bytes) -> Any:
    """A client's connection, when it is known what it speaks."""
    here, there = ("127.0.0.1", 80), ("127.0.0.1", 50000)
    transport = Silence()
    sniffer: Any = chain.connect(ConnectionInfo(there, here, here))
    sniffer.connection_made(transport)
    sniffer.data_received(first)
    return transport.protocol


def main() -> None:
    """Profiles 5,000 exchanges."""
    import cProfile
    import pstats

    async def run() -> None:
        exchange = Exchange(*sys.argv[1:])
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(5000):
            exchange()
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)

    asyncio.run(run())


if __name__ == "__main__":
    main()
