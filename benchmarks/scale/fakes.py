"""Proxies as the control plane sees them: one process, many delta ADS streams over mutual TLS.

`python -m benchmarks.scale.fakes` reads a job and then commands as lines of JSON, and answers in
lines. Each fake has a connection, a key and an SVID of its own. It does what Envoy does: CDS and
LDS first, endpoints of the clusters that came, routes that listeners name, secrets, an ACK for each
response, and after a loss of the stream the versions that it holds. One that is on demand names the
clusters and virtual hosts that it calls, instead of taking all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import uvloop
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from benchmarks.scale import mesh
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS

DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

SERVER_NAME = "weft-controlplane.weft-system.svc"
OPENING = 50
"""Connections that one process opens at a time."""
OPTIONS = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)


@dataclass(slots=True)
class Counts:
    """Since the last `reset`."""

    responses: int = 0
    bytes: int = 0
    touched: set[int] = field(default_factory=set)
    last_s: float = 0.0
    wanted: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, number: int, size: int) -> None:
        """A fake has acknowledged a response."""
        self.responses += 1
        self.bytes += size
        self.touched.add(number)
        self.last_s = time.monotonic()
        if self.wanted and len(self.touched) >= self.wanted:
            self.enough.set()

    async def reached(self, proxies: int) -> None:
        """Waits until so many fakes have acknowledged something."""
        self.wanted = proxies
        self.enough.clear()
        if len(self.touched) < proxies:
            await self.enough.wait()
        self.wanted = 0


class Fake:
    """One proxy. calls: numbers of the services that it calls, None: it takes all there are."""

    def __init__(self, job: dict[str, Any], number: int, counts: Counts) -> None:
        self.number = number
        self._job = job
        self._counts = counts
        pem = job["proxies"][str(number)]
        self._calls: list[int] | None = pem["calls"]
        self._credentials = grpc.ssl_channel_credentials(
            job["roots"].encode(), pem["key"].encode(), pem["chain"].encode()
        )
        self._held: dict[str, dict[str, str]] = {}
        self._stream: Any = None
        self._channel: Any = None
        self._asked: dict[str, set[str]] = {}
        self.initial = asyncio.Event()
        self._waits = {CDS, LDS}

    async def open(self) -> None:
        self._channel = grpc.aio.secure_channel(self._job["address"], self._credentials, OPTIONS)
        self._stream = self._channel.stream_stream(DELTA)()
        self._asked, self._waits = {}, {CDS, LDS}
        self.initial.clear()
        first = self._request(CDS, self._clusters())
        first.node.id = f"sidecar~127.0.0.1~w{self.number}.default~default.svc.cluster.local"
        first.node.metadata.update(
            {
                "NAMESPACE": mesh.NAMESPACE,
                "WORKLOAD_NAME": f"w{self.number}",
                "SERVICE_ACCOUNT": f"w{self.number}",
                "HTTP_PROXY_PORT": "15080",
                "WEFT_AGENT": "true",
                "LABELS": {"app": f"w{self.number}"},
                "WEFT_ON_DEMAND": str(self._calls is not None).lower(),
            }
        )
        await self._send(first)
        await self._send(self._request(LDS, []))
        await self._send(self._request(SDS, ["ROOTCA"]))
        if self._calls is not None:
            names = [f"http_proxy/{mesh.host(call)}:80" for call in self._calls]
            await self._send(self._request(VHDS, names))
            await self._send(self._request(EDS, [mesh.cluster(call) for call in self._calls]))

    def _clusters(self) -> list[str]:
        return [] if self._calls is None else ["*", *map(mesh.cluster, self._calls)]

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)

    async def follow(self) -> None:
        """Until the stream ends."""
        stream = self._stream
        try:
            while data := await stream.read():  # grpc.aio.EOF is false
                await self._take(DeltaDiscoveryResponse.FromString(data), len(data))
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            return

    async def _take(self, response: DeltaDiscoveryResponse, size: int) -> None:
        type_url = response.type_url
        held = self._held.setdefault(type_url, {})
        held.update((one.name, one.version) for one in response.resources)
        for name in response.removed_resources:
            held.pop(name, None)
        ack = DeltaDiscoveryRequest(type_url=type_url, response_nonce=response.nonce)
        await self._send(ack)
        self._counts.note(self.number, size)
        await self._follow_up(type_url, response)
        self._waits.discard(type_url)
        if not self._waits:
            self.initial.set()

    async def _follow_up(self, type_url: str, response: DeltaDiscoveryResponse) -> None:
        """What Envoy asks for by what has come."""
        if type_url == CDS and self._calls is None:
            outbound = {name for name in self._held[CDS] if name.startswith("outbound|")}
            await self._ask(EDS, outbound)
        elif type_url == LDS:
            routes: set[str] = set()
            for one in response.resources:
                routes |= _routes(one.resource.value)
            await self._ask(RDS, self._asked.get(RDS, set()) | routes)

    async def _ask(self, type_url: str, names: set[str]) -> None:
        before = self._asked.get(type_url, set())
        if names == before:
            return
        if type_url in self._asked:
            request = DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=sorted(names - before),
                resource_names_unsubscribe=sorted(before - names),
            )
        else:
            request = self._request(type_url, sorted(names))
            self._waits.add(type_url)
        self._asked[type_url] = names
        if any(self._held.get(type_url, {}).get(name) is None for name in names - before):
            self._waits.add(type_url)
        elif type_url in self._waits:
            self._waits.discard(type_url)  # all that is wanted is held: no answer needs to come
        await self._send(request)

    def _request(self, type_url: str, names: list[str]) -> DeltaDiscoveryRequest:
        return DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            initial_resource_versions=self._held.get(type_url, {}),
        )

    async def _send(self, request: DeltaDiscoveryRequest) -> None:
        await self._stream.write(request.SerializeToString())


def _routes(listener: bytes) -> set[str]:
    """The route configurations that a listener names."""
    found = set()
    for chain in Listener.FromString(listener).filter_chains:
        for item in chain.filters:
            manager = hcm_pb2.HttpConnectionManager()
            if item.typed_config.Unpack(manager) and manager.rds.route_config_name:
                found.add(manager.rds.route_config_name)
    return found


async def _open(fakes: list[Fake], followers: set[asyncio.Task[None]]) -> None:
    gate = asyncio.Semaphore(OPENING)

    async def one(fake: Fake) -> None:
        async with gate:
            await fake.open()
            follower = asyncio.create_task(fake.follow())  # noqa: TID251  no daemon here
            followers.add(follower)
            await fake.initial.wait()

    await asyncio.gather(*map(one, fakes))


async def _run() -> None:
    reader = asyncio.StreamReader(limit=1 << 30)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    job = json.loads(await reader.readline())
    counts, followers = Counts(), set[asyncio.Task[None]]()
    fakes = [Fake(job, number, counts) for number in map(int, job["proxies"])]
    while line := await reader.readline():
        command = json.loads(line)
        match command["do"]:
            case "open":
                await _open(fakes, followers)
            case "close":
                await asyncio.gather(*(fake.close() for fake in fakes))
            case "reset":
                counts.responses = counts.bytes = 0
                counts.touched.clear()
            case "await":
                await counts.reached(command["proxies"])
        told = {
            "responses": counts.responses,
            "bytes": counts.bytes,
            "proxies": len(counts.touched),
            "last_s": counts.last_s,
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(_run())
