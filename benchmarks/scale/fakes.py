"""Proxies as the control plane sees them: one process, many delta ADS streams over mutual TLS.

`python -m benchmarks.scale.fakes` reads a job and then commands as lines of JSON, and answers in
lines. Each fake has a connection, a key and an SVID of its own. It does what Envoy does: CDS and
LDS first, endpoints of the clusters that came, routes that listeners name, secrets, an ACK for each
response, and after a loss of the stream the versions that it holds. One that is on demand names the
clusters and virtual hosts that it calls, instead of taking all. A stream that ends without being
closed is a failure, told with each answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

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
from benchmarks.scale.ads_client import AdsStream, Heard, connect
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS
from proxy.rpc.credentials import client_tls

SERVER_NAME = "weft-controlplane.weft-system.svc"
OPENING = 50
"""Connections that one process opens at a time."""


@dataclass(slots=True)
class Counts:
    """Since the last `reset`, but for the failures: those are all that ever were."""

    responses: int = 0
    bytes: int = 0
    touched: set[int] = field(default_factory=set)
    last_s: float = 0.0
    wanted: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[str] = field(default_factory=list)

    def note(self, number: int, size: int) -> None:
        """A fake has acknowledged a response."""
        self.responses += 1
        self.bytes += size
        self.touched.add(number)
        self.last_s = time.monotonic()
        if self.wanted and len(self.touched) >= self.wanted:
            self.enough.set()

    def fail(self, number: int, why: str) -> None:
        """A fake has no stream any more: nobody need wait for it."""
        self.failures.append(f"w{number}: {why}")
        self.enough.set()

    async def reached(self, proxies: int) -> None:
        """Waits until so many fakes have acknowledged something, or one has failed."""
        self.wanted = proxies
        self.enough.clear()
        if len(self.touched) < proxies and not self.failures:
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
        roots, chain, key = (text.encode() for text in (job["roots"], pem["chain"], pem["key"]))
        self._tls = client_tls(job["address"], roots, SERVER_NAME, chain, key)
        self._held: dict[str, dict[str, str]] = {}
        self._stream: AdsStream | None = None
        self._asked: dict[str, set[str]] = {}
        self.initial = asyncio.Event()
        self._waits = {CDS, LDS}

    async def open(self) -> None:
        """`initial` is set when all has come that it asks for at first, or it has failed."""
        self._asked, self._waits = {}, {CDS, LDS}
        self.initial.clear()
        try:
            heard = Heard(self._take, self._fail)
            self._stream = await connect(self._job["address"], self._tls, heard)
        except OSError as error:
            self._fail(str(error))
        else:
            self._begin()

    def _fail(self, why: str) -> None:
        self._counts.fail(self.number, why)
        self.initial.set()

    def _begin(self) -> None:
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
        self._send(first)
        self._send(self._request(LDS, []))
        self._send(self._request(SDS, ["ROOTCA"]))
        if self._calls is not None:
            names = [f"http_proxy/{mesh.host(call)}:80" for call in self._calls]
            self._send(self._request(VHDS, names))
            self._send(self._request(EDS, [mesh.cluster(call) for call in self._calls]))

    def _clusters(self) -> list[str]:
        return [] if self._calls is None else ["*", *map(mesh.cluster, self._calls)]

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _take(self, data: bytes) -> None:
        response = DeltaDiscoveryResponse.FromString(data)
        type_url = response.type_url
        held = self._held.setdefault(type_url, {})
        held.update((one.name, one.version) for one in response.resources)
        for name in response.removed_resources:
            held.pop(name, None)
        ack = DeltaDiscoveryRequest(type_url=type_url, response_nonce=response.nonce)
        self._send(ack)
        self._counts.note(self.number, len(data))
        self._follow_up(type_url, response)
        self._waits.discard(type_url)
        if not self._waits:
            self.initial.set()

    def _follow_up(self, type_url: str, response: DeltaDiscoveryResponse) -> None:
        """What Envoy asks for by what has come."""
        if type_url == CDS and self._calls is None:
            outbound = {name for name in self._held[CDS] if name.startswith("outbound|")}
            self._ask(EDS, outbound)
        elif type_url == LDS:
            routes: set[str] = set()
            for one in response.resources:
                routes |= _routes(one.resource.value)
            self._ask(RDS, self._asked.get(RDS, set()) | routes)

    def _ask(self, type_url: str, names: set[str]) -> None:
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
        self._send(request)

    def _request(self, type_url: str, names: list[str]) -> DeltaDiscoveryRequest:
        return DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            initial_resource_versions=self._held.get(type_url, {}),
        )

    def _send(self, request: DeltaDiscoveryRequest) -> None:
        if self._stream is not None:
            self._stream.send(request.SerializeToString())


def _routes(listener: bytes) -> set[str]:
    """The route configurations that a listener names."""
    found = set()
    for chain in Listener.FromString(listener).filter_chains:
        for item in chain.filters:
            manager = hcm_pb2.HttpConnectionManager()
            if item.typed_config.Unpack(manager) and manager.rds.route_config_name:
                found.add(manager.rds.route_config_name)
    return found


async def _open(fakes: list[Fake]) -> None:
    gate = asyncio.Semaphore(OPENING)

    async def one(fake: Fake) -> None:
        async with gate:
            await fake.open()
            await fake.initial.wait()

    await asyncio.gather(*map(one, fakes))


async def _run() -> None:
    reader = asyncio.StreamReader(limit=1 << 30)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    job = json.loads(await reader.readline())
    counts = Counts()
    fakes = [Fake(job, number, counts) for number in map(int, job["proxies"])]
    while line := await reader.readline():
        command = json.loads(line)
        match command["do"]:
            case "open":
                await _open(fakes)
            case "close":
                for fake in fakes:
                    fake.close()
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
            "failures": counts.failures,
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(_run())
