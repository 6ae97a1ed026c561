"""A real Envoy as a sidecar of our control plane: ADS over TLS with a token, secrets by SDS."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.store import load_store
from certs.x509 import chain_to_pem
from tests.support.client import Client
from tests.support.control_plane import ControlPlane
from tests.support.envoy import ROOT, envoy, require_envoy
from tests.support.ports import free_port
from tests.support.process import ProcessFailed, ProxyProcess
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually, eventually_async

MESH = """
apiVersion: v1
kind: Service
metadata: {{name: messenger}}
spec:
  selector: {{app: messenger}}
  ports: [{{name: http, port: 8080, targetPort: http}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: messenger-1
  annotations: {{weft.dev/sidecar: "true", weft.dev/app-ports: '{{"http": {app_1}}}'}}
spec:
  address: 127.0.0.1
  ports: {{http: {inbound}}}
  labels: {{app: messenger, version: v1}}
  serviceAccount: messenger
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: messenger-2}}
spec:
  address: 127.0.0.1
  ports: {{http: {app_2}}}
  labels: {{app: messenger, version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: messenger}}
spec:
  host: messenger
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: STRICT}}}}
"""

ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: messenger}}
spec:
  hosts: [messenger]
  http:
  - match: [{{uri: {{prefix: /lost}}}}]
    route: [{{destination: {{host: nowhere}}}}]
  - route:
    - {{destination: {{host: messenger, subset: v1}}, weight: {v1}}}
    - {{destination: {{host: messenger, subset: v2}}, weight: {v2}}}
"""


EXAMPLE = ROOT / "examples" / "envoy" / "sidecar.yaml"


class Mesh:
    """One Envoy beside `messenger-1`, with the outbound HTTP proxy; `messenger-2` without."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "mesh"
        self.config.mkdir()
        self.inbound, self.proxy_port = free_port(), free_port()
        self.plane = ControlPlane(self.config, directory / "state", "--allow-sds-keys")

    def write(self, app_1: int, app_2: int) -> None:
        text = MESH.format(app_1=app_1, app_2=app_2, inbound=self.inbound)
        (self.config / "mesh.yaml").write_text(text)
        self.weights(100, 0)

    def weights(self, v1: int, v2: int) -> None:
        (self.config / "routes.yaml").write_text(ROUTES.format(v1=v1, v2=v2))

    def sidecar(self, delta: bool, **metadata: str) -> ProxyProcess:
        bootstrap = sidecar_bootstrap(
            self.plane.port,
            self.plane.root_pem,
            self.plane.join_token("messenger"),
            workload="messenger-1",
            service_account="messenger",
            http_proxy_port=self.proxy_port,
            delta=delta,
            metadata=metadata,
        )
        return envoy(bootstrap, self.directory)

    def example(self) -> ProxyProcess:
        """examples/envoy/sidecar.yaml, with our ports and files."""
        text = EXAMPLE.read_text()
        for theirs, ours in (
            ("JOIN_TOKEN", self.plane.join_token("messenger")),
            (".weft/root.pem", str(self.plane.state / "root.pem")),
            ("15010", str(self.plane.port)),
            ("15080", str(self.proxy_port)),
        ):
            assert theirs in text.replace("#", "")
            text = text.replace(theirs, ours)
        return envoy(yaml.safe_load(text), self.directory)

    def client_context(self, certificate: bool = True) -> ssl.SSLContext:
        """A client that holds an SVID of the mesh, or only its trust bundle."""
        context = ssl.create_default_context(cadata=self.plane.root_pem.decode())
        context.check_hostname = False
        if certificate:
            path = self.directory / "client.pem"
            path.write_bytes(self._svid())
            context.load_cert_chain(path)
        return context

    def _svid(self) -> bytes:
        authority = load_store(self.plane.state, time.time()).authority
        key = generate_key()
        identity = SpiffeId.workload("cluster.local", "default", "greeter")
        chain = authority.sign(key.public_key(), identity, 600, time.time())
        return key_to_pem(key) + chain_to_pem(chain)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    require_envoy()
    made = Mesh(tmp_path)
    yield made


async def fetch(port: int, path: str = "/", host: str = "messenger:8080") -> tuple[int, bytes]:
    """One request through the outbound HTTP proxy."""
    async with Client(port) as client:
        message = await client.request("GET", path, [("host", host)])
        assert message is not None, client.received
        return message.status, message.body


async def wait_synced(mesh: Mesh) -> None:
    def synced() -> bool:
        proxies = mesh.plane.status()["proxies"]
        return len(proxies) == 1 and proxies[0]["synced"]

    await asyncio.to_thread(eventually, synced, 30.0, "the proxy acknowledged everything")


@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_envoy_serves_inbound_mtls_and_routes_outbound(mesh: Mesh, variant: str) -> None:
    async with Upstream([Answer(body=b"one")]) as one, Upstream([Answer(body=b"two")]) as two:
        mesh.write(one.port, two.port)
        # Only the delta protocol has what on demand takes.
        asks = {} if variant == "delta" else {"WEFT_ON_DEMAND": "true"}
        with mesh.plane, mesh.sidecar(variant == "delta", **asks):
            await wait_synced(mesh)
            await inbound_takes_mutual_tls_only(mesh, one)
            await outbound_follows_the_rules(mesh)
            await weights_reach_it(mesh)
            await a_changed_cluster_is_warm_at_once(mesh)
            proxy = mesh.plane.status()["proxies"][0]
            assert (proxy["variant"], proxy["synced"]) == (variant, True)
            assert proxy["identity"] == "spiffe://cluster.local/ns/default/sa/messenger"
            assert proxy["user_agent"].startswith("envoy 1.")
            assert all(not known["rejected"] for known in proxy["types"].values())
            dump_hides_the_key(mesh)


async def test_envoy_on_demand_holds_what_it_calls(mesh: Mesh) -> None:
    async with Upstream([Answer(body=b"one")]) as one, Upstream([Answer(body=b"two")]) as two:
        mesh.write(one.port, two.port)
        with mesh.plane, mesh.example():
            await wait_synced(mesh)
            assert holds(mesh) == {"CDS": 1, "VHDS": 0}
            for host in ("messenger:8080", "messenger"):
                assert await fetch(mesh.proxy_port, host=host) == (200, b"one")
            assert (await fetch(mesh.proxy_port, host="stranger"))[0] == 404
            assert (await fetch(mesh.proxy_port, "/lost"))[0] == 503
            await weights_reach_it(mesh)
            await wait_synced(mesh)
            found = holds(mesh)
            # Its own application's; of the service's three the two that requests went to.
            assert (found["CDS"], found["EDS"]) == (1 + 2, 2)


def holds(mesh: Mesh) -> dict[str, int]:
    """type -> how many resources the one proxy has of it; of listeners' types too many to say."""
    types = mesh.plane.status()["proxies"][0]["types"]
    return {name: types[name]["resources"] for name in ("CDS", "EDS", "VHDS") if name in types}


async def inbound_takes_mutual_tls_only(mesh: Mesh, app: Upstream) -> None:
    async with Client(mesh.inbound, mesh.client_context()) as client:
        message = await client.request("GET", "/")
        assert message is not None
        assert (message.status, message.body) == (200, b"one")
        peer = client.wire.writer.get_extra_info("peercert")
        assert ("URI", "spiffe://cluster.local/ns/default/sa/messenger") in peer["subjectAltName"]
    xfcc = dict(app.requests[-1].headers)["x-forwarded-client-cert"]
    assert "URI=spiffe://cluster.local/ns/default/sa/greeter" in xfcc
    async with Client(mesh.inbound) as plain:
        assert await plain.request("GET", "/") is None
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        async with Client(mesh.inbound, mesh.client_context(certificate=False)) as anonymous:
            # In TLS 1.3 the refusal comes after the client's part of the handshake.
            assert await anonymous.request("GET", "/") is not None
    assert len(app.requests) == 1


async def outbound_follows_the_rules(mesh: Mesh) -> None:
    for host in ("messenger:8080", "messenger", "messenger.default.svc.cluster.local:8080"):
        assert await fetch(mesh.proxy_port, host=host) == (200, b"one")
    status, body = await fetch(mesh.proxy_port, host="stranger:8080")
    assert (status, b"BlackHoleCluster" in body) == (502, True)
    status, _ = await fetch(mesh.proxy_port, "/lost")
    assert status == 503


async def weights_reach_it(mesh: Mesh) -> None:
    mesh.weights(0, 100)

    async def only_two() -> bool:
        return await fetch(mesh.proxy_port) == (200, b"two")

    async with asyncio.timeout(30):
        while not await only_two():
            pass
    mesh.weights(50, 50)
    seen: Counter[bytes] = Counter()
    async with asyncio.timeout(30):
        while len(seen) < 2:
            status, body = await fetch(mesh.proxy_port)
            assert status == 200
            seen[body] += 1
    await wait_synced(mesh)


async def a_changed_cluster_is_warm_at_once(mesh: Mesh) -> None:
    """Without its endpoints again Envoy would withhold the ACK for 15 s."""
    before = mesh.plane.status()["version"]
    path = mesh.config / "mesh.yaml"
    policy = "  host: messenger\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}"
    path.write_text(path.read_text().replace("  host: messenger", policy))

    def changed_and_synced() -> bool:
        status = mesh.plane.status()
        return bool(status["version"] != before and status["proxies"][0]["synced"])

    await asyncio.to_thread(eventually, changed_and_synced, 12.0, "the changed cluster is warm")


def dump_hides_the_key(mesh: Mesh) -> None:
    status, text = mesh.plane.page("/debug/config_dump?node=messenger-1")
    assert status == 200
    (dump,) = json.loads(text).values()
    assert set(dump["SDS"]) == {"default", "ROOTCA"}
    assert "PRIVATE KEY" not in text
    assert mesh.plane.page("/debug/config_dump?node=nobody")[0] == 404


async def test_without_leave_envoy_gets_no_key_and_its_listener_stays_closed(
    tmp_path: Path, mesh: Mesh
) -> None:
    mesh.plane = ControlPlane(mesh.config, tmp_path / "state")
    async with Upstream() as app:
        mesh.write(app.port, app.port)
        with mesh.plane:
            sidecar = mesh.sidecar(delta=True)
            starting = asyncio.create_task(asyncio.to_thread(sidecar.start))  # noqa: TID251
            try:
                await eventually_async(lambda: mesh.plane.status()["proxies"], 30.0)
                await eventually_async(
                    lambda: "--allow-sds-keys" in mesh.plane.log, 30.0, "it says why"
                )
                (dump,) = json.loads(
                    mesh.plane.page("/debug/config_dump?node=messenger-1")[1]
                ).values()
                assert set(dump["SDS"]) == {"ROOTCA"}
                with pytest.raises(OSError):
                    async with Client(mesh.inbound, mesh.client_context()):
                        pass
            finally:
                sidecar.stop()  # without waiting for it to be ready: that takes 15 s
                with pytest.raises(ProcessFailed):
                    await starting
