"""When clusters that come over CDS are acknowledged and listeners asked for, beside Envoy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from protos.types import CDS, EDS, LDS, RDS
from proxy.tasks import spawn
from tests.support.client import Client
from tests.support.envoy import envoy
from tests.support.envoy_resources import bootstrap_file, cluster, endpoints, listener, routes
from tests.support.fake_ads import FakeAds
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.wait import eventually_async
from tests.support.weft_proxy import weft_proxy


class Checked:
    """An HTTP server that answers a path when it was released; `asked` are the paths so far."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released: set[str] = {"/"}
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Checked:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1].decode()
                self.asked.append(path)
                async with self._changed:
                    await self._changed.wait_for(partial(self.released.__contains__, path))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except (OSError, EOFError, asyncio.CancelledError):
            writer.close()

    async def release(self, path: str) -> None:
        async with self._changed:
            self.released.add(path)
            self._changed.notify_all()


def checked_cluster(port: int, path: str) -> cluster_pb2.Cluster:
    plain = {
        "name": "a",
        "load_assignment": json_format.MessageToDict(endpoints("a", port)),
        # No host is well enough to be panicked about: what is picked was found well.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "30s",
                "interval": "60s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "http_health_check": {"path": path},
            }
        ],
    }
    return json_format.ParseDict(plain, cluster_pb2.Cluster())


@pytest.fixture
async def upstream() -> AsyncIterator[Checked]:
    async with Checked() as found:
        yield found


@pytest.fixture
async def server(upstream: Checked) -> AsyncIterator[FakeAds]:
    ads = FakeAds()
    ads.put(CDS, "a", "1", checked_cluster(upstream.port, "/first"))
    ads.put(CDS, "b", "1", cluster("b"))
    ads.put(EDS, "b", "1", endpoints("b", 1))
    ads.put(LDS, "in", "1", listener("in", "r", free_port()))
    ads.put(RDS, "r", "1", routes("r", "a"))
    await ads.start()
    yield ads
    await ads.stop()


def started(kind: str, server: FakeAds, folder: Path) -> ProxyProcess:
    bootstrap = json.loads(bootstrap_file(folder, server.port).read_text())
    return envoy(bootstrap, folder) if kind == "envoy" else weft_proxy(bootstrap, folder)


def acknowledged(server: FakeAds, type_url: str) -> int:
    return sum(bool(each.response_nonce) for each in server.said(type_url))


async def status(server: FakeAds) -> int:
    message: Any = server.resources[LDS]["in"][1]
    port = message.address.socket_address.port_value
    async with Client(port) as client:
        reply = await client.request("GET", "/")
    assert reply is not None
    return reply.status


@pytest.mark.parametrize("kind", ["weft", "envoy"])
async def test_clusters_are_warm_before_anybody_hears_of_them(
    kind: str, server: FakeAds, upstream: Checked, tmp_path: Path
) -> None:
    proxy = started(kind, server, tmp_path)
    starting = spawn(asyncio.to_thread(proxy.start), "start")
    try:
        await eventually_async(lambda: upstream.asked == ["/first"], what="the first check")
        await eventually_async(lambda: acknowledged(server, CDS), what="the first ACK")
        assert not server.said(LDS)
        await upstream.release("/first")
        await starting
        await eventually_async(lambda: acknowledged(server, EDS), what="the endpoints of b")
        before = acknowledged(server, EDS)
        assert await status(server) == 200

        server.put(CDS, "a", "2", checked_cluster(upstream.port, "/second"))
        server.put(EDS, "b", "2", endpoints("b", 2))
        await server.push()
        await eventually_async(lambda: "/second" in upstream.asked, what="the other check")
        await eventually_async(
            lambda: acknowledged(server, EDS) > before, what="the other endpoints"
        )
        assert [await status(server) for _ in range(5)] == [200] * 5
        assert acknowledged(server, CDS) == 1
        await upstream.release("/second")
        await eventually_async(lambda: acknowledged(server, CDS) == 2, what="the second ACK")
        assert await status(server) == 200
    finally:
        await asyncio.to_thread(proxy.stop)
        await asyncio.gather(starting, return_exceptions=True)
