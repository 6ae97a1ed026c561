"""What a push costs beside gRPC: 1,000 streams in this process, whose transport is a list.

    python -m benchmarks.scale.streams [--proxies 1000] [--changes 20]

One endpoint that all call changes again and again; each stream gets it and acknowledges. CPU time
of this process, client's part included (an ACK that was encoded before), so that it can be compared
with itself while others use the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from certs.spiffe import SpiffeId
from controlplane.emit.node import Node
from controlplane.metrics import Metrics
from controlplane.rotation.roster import Roster
from controlplane.status import StatusRegistry
from controlplane.tasks import spawn
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import AdsService
from protos.types import CDS, EDS, LDS
from tests.support.mesh import endpoint, mesh, service

CLUSTER = "outbound|8080||{}.default.svc.cluster.local"
IDENTITY = SpiffeId.workload("cluster.local", "default", "default")


class FakeStream:
    """A client, its call and context: it says what it wants, and acknowledges all that it gets."""

    full = over = False
    on_room: Any = None

    def __init__(self, number: int) -> None:
        self.call = self
        self.requests: asyncio.Queue[bytes] = asyncio.Queue()
        self.answers = 0
        self._number = number

    def begin(self, calls: str) -> None:
        first = DeltaDiscoveryRequest(type_url=CDS, resource_names_subscribe=["*", calls])
        first.node.id = f"sidecar~127.0.0.1~w{self._number}.default~default.svc.cluster.local"
        first.node.metadata.update(
            {
                "NAMESPACE": "default",
                "WORKLOAD_NAME": f"w{self._number}",
                "SERVICE_ACCOUNT": "default",
                "HTTP_PROXY_PORT": "15080",
                "WEFT_ON_DEMAND": "true",
            }
        )
        wanted = DeltaDiscoveryRequest(type_url=EDS, resource_names_subscribe=[calls])
        for one in (first, DeltaDiscoveryRequest(type_url=LDS), wanted):
            self.requests.put_nowait(one.SerializeToString())

    def send_parts(self, parts: tuple[bytes, ...]) -> None:
        response = DeltaDiscoveryResponse.FromString(b"".join(parts))
        answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        self.requests.put_nowait(answer.SerializeToString())
        self.answers += 1

    async def read(self) -> bytes:
        return await self.requests.get()

    async def each(self, take: Callable[[bytes], None]) -> None:
        while True:
            take(await self.requests.get())

    def when_drained(self, tell: Callable[[], None]) -> None:
        tell()

    def peer(self) -> str:
        return "fake"


async def admit(_: Any) -> Proof:
    return Proof(IDENTITY)


def no_secrets(_: Node) -> tuple[Secret, ...]:
    return ()


async def run(proxies: int, changes: int) -> None:
    others = [service(f"other{number}", endpoint(9200)) for number in range(100)]

    def at(port: int) -> SnapshotCache:
        cache.set_mesh(mesh(service("one", endpoint(port)), *others))
        return cache

    cache = SnapshotCache(mesh(service("one", endpoint(9101)), *others), no_secrets)
    registry, metrics = StatusRegistry(), Metrics(tuple)
    with tempfile.TemporaryDirectory() as folder:
        roster = Roster(Path(folder, "roster.json"), time.time)
    ads = AdsService(admit, cache, (registry, metrics, roster), time.time)
    streams = [FakeStream(number) for number in range(proxies)]
    serving = [spawn(ads._delta(None, cast(Any, one)), "stream") for one in streams]
    for one in streams:
        one.begin(CLUSTER.format("one"))
    costs: list[float] = []
    for change in range(changes + 1):
        await quiet(ads)
        began_s, told = time.process_time(), sum(one.answers for one in streams)
        at(9200 + change)
        ads.publish()
        await quiet(ads)
        pushes = sum(one.answers for one in streams) - told
        assert pushes >= proxies, f"{pushes} pushes"
        costs.append((time.process_time() - began_s) / pushes)
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    print(f"{1e6 * statistics.median(costs[1:]):.1f} us of CPU for each push with its ACK")


async def quiet(ads: AdsService) -> None:
    """Until nobody has anything to say."""
    while True:
        for _ in range(3):
            await asyncio.sleep(0)
        if (
            not any(one.due or not one.machine.synced for one in ads.connections)
            and ads.connections
        ):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=20)
    options = parser.parse_args()
    asyncio.run(run(options.proxies, options.changes))


if __name__ == "__main__":
    main()
