"""A real Envoy on our own ADS service, to be shown one mesh after another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from certs.authority import Authority
from certs.spiffe import SpiffeId
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.sds import SdsSecrets
from controlplane.mesh.model import Mesh
from controlplane.rpc.server import Server
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import AdsService
from protos.types import LDS, short_name
from tests.support.envoy import envoy, require_envoy
from tests.support.live import live
from tests.support.mesh import TRUST_DOMAIN, mesh
from tests.support.ports import free_port
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.wait import eventually_async

MESSENGER = SpiffeId.workload(TRUST_DOMAIN, "default", "messenger")


async def _prove(context: Any) -> Proof:
    return Proof(MESSENGER)


class Judge:
    """Our ADS service without TLS, and an Envoy on it."""

    def __init__(self) -> None:
        authority = Authority.create(TRUST_DOMAIN, time.time())
        secrets = SdsSecrets(live(authority), EnvoySecrets(authority), time.time)
        self.bundle_pem = authority.bundle.to_pem()
        self.cache = SnapshotCache(mesh(), secrets)
        self.ads = AdsService(_prove, self.cache, (), time.time)
        self.server = Server()
        self.server.add_generic_rpc_handlers((self.ads.handler(),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def bootstrap(self, delta: bool, interception: str = "NONE") -> dict[str, Any]:
        made = sidecar_bootstrap(
            self.port,
            self.bundle_pem,
            "unused",
            workload="messenger-1",
            service_account="messenger",
            http_proxy_port=free_port(),
            delta=delta,
            metadata={
                "LABELS": {"app": "me"},
                "WEFT_GATEWAY": f"127.0.0.1:{free_port()}",
                "INTERCEPTION_MODE": interception,
            },
        )
        del made["static_resources"]["clusters"][0]["transport_socket"]
        return made

    def has_all(self) -> bool:
        """Some proxy has its listeners, and all else that it asked for. It objects to nothing."""
        machines = [connection.machine for connection in self.ads.connections]
        assert not any(machine.rejections for machine in machines), machines[0].rejections
        return any(
            LDS in machine.subscriptions
            and not any(one.awaiting for one in machine.subscriptions.values())
            for machine in machines
        )

    async def judge(self, candidate: Mesh, within_s: float = 12.0) -> dict[str, dict[str, str]]:
        """Envoy's objections to `candidate`: {type: {resource: message}}."""
        self.cache.set_mesh(candidate)
        wanted = self.cache.snapshot(next(iter(self.ads.connections)).node)
        assert wanted.of(LDS), "the emission itself failed; see the log"
        self.ads.publish()

        def decided() -> bool:
            (connection,) = self.ads.connections
            machine = connection.machine
            arrived = machine.snapshot.version == wanted.version
            waiting = any(one.awaiting for one in machine.subscriptions.values())
            return arrived and not waiting  # before that rejections are those of the last mesh

        await eventually_async(decided, within_s, "Envoy acknowledged; 15 s is a missing answer")
        (connection,) = self.ads.connections
        return {short_name(url): found for url, found in connection.machine.rejections.items()}


@asynccontextmanager
async def judging(directory: Path, delta: bool, interception: str = "NONE") -> AsyncIterator[Judge]:
    require_envoy()
    judge = Judge()
    await judge.server.start()
    sidecar = envoy(judge.bootstrap(delta, interception), directory)
    await asyncio.to_thread(sidecar.start)
    try:
        yield judge
    finally:
        await asyncio.to_thread(sidecar.stop)
        await judge.server.stop(0)
