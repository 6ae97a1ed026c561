"""Two control planes that federate, and a sidecar of one (a real Envoy, and Weft's) that workloads
of the other call."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from certs.authority import Authority
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.spiffe_bundle import emit_bundle
from certs.store import load_store
from certs.x509 import chain_to_pem
from tests.support.client import Client
from tests.support.control_plane import ControlPlane
from tests.support.envoy import envoy, require_envoy
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy

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
  annotations: {{weft.dev/sidecar: "true", weft.dev/app-ports: '{{"http": {app}}}'}}
spec:
  address: 127.0.0.1
  ports: {{http: {inbound}}}
  labels: {{app: messenger}}
  serviceAccount: messenger
"""

FEDERATION = """
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterFederatedTrustDomain
metadata: {{name: far}}
spec:
  trustDomain: far.example
  bundleEndpointURL: https://{address}/
  bundleEndpointProfile:
    type: https_spiffe
    endpointSPIFFEID: spiffe://far.example/ns/weft-system/sa/weft-controlplane
  trustDomainBundle: '{bundle}'
"""

GREETER = SpiffeId.workload("far.example", "default", "greeter")
OURS = SpiffeId.workload("cluster.local", "default", "greeter")


class Meshes:
    """`near`, with an Envoy beside messenger-1, and `far`, which serves its bundle."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("near", "far"):
            (directory / name).mkdir()
        domain = ("--trust-domain", "far.example", "--bundle-port", "0")
        self.far = ControlPlane(directory / "far", directory / "far-state", *domain)
        self.near = ControlPlane(directory / "near", directory / "near-state", "--allow-sds-keys")
        self.inbound = free_port()

    def write(self, app_port: int) -> None:
        text = MESH.format(app=app_port, inbound=self.inbound)
        (self.directory / "near" / "mesh.yaml").write_text(text)

    def federate(self) -> None:
        roots = self.far_authority().bundle.roots
        bundle = json.dumps(json.loads(emit_bundle(roots, 1, 60)))
        text = FEDERATION.format(address=self.far.serving["bundle_address"], bundle=bundle)
        (self.directory / "near" / "federation.yaml").write_text(text)

    def part(self) -> None:
        (self.directory / "near" / "federation.yaml").unlink()

    def far_authority(self) -> Authority:
        return load_store(self.far.state, time.time()).authority

    def client(self, authority: Authority, identity: SpiffeId) -> ssl.SSLContext:
        """A client with an SVID, which trusts the near mesh."""
        key = generate_key()
        chain = authority.sign(key.public_key(), identity, 600, time.time())
        path = self.directory / "client.pem"
        path.write_bytes(key_to_pem(key) + chain_to_pem(chain))
        context = ssl.create_default_context(cadata=self.near.root_pem.decode())
        context.check_hostname = False
        context.load_cert_chain(path)
        return context

    def impostor(self) -> ssl.SSLContext:
        """A client whose SVID of the near mesh was signed by the far authority, made to lie."""
        liar = self.far_authority()
        liar.trust_domain = OURS.trust_domain
        return self.client(liar, OURS)

    def metric(self, name: str) -> float | None:
        line = f'weft_federation_{name}{{trust_domain="far.example"}} '
        for found in self.near.page("/metrics")[1].splitlines():
            if found.startswith(line):
                return float(found.removeprefix(line))
        return None


async def status_of(meshes: Meshes, context: ssl.SSLContext) -> int:
    """Of a request to the sidecar; 0 where no connection is allowed."""
    try:
        async with Client(meshes.inbound, context) as client:
            message = await client.request("GET", "/")
    except (OSError, AssertionError):
        return 0
    return message.status if message is not None else 0


@pytest.mark.parametrize("sidecar", [envoy, weft_proxy])
async def test_a_workload_of_a_federated_mesh_is_believed_and_no_longer(
    tmp_path: Path, sidecar: Callable[[dict[str, Any], Path], ProxyProcess]
) -> None:
    require_envoy()
    meshes = Meshes(tmp_path)
    async with Upstream([Answer(body=b"hello")]) as app:
        meshes.write(app.port)
        with meshes.near, meshes.far:
            bootstrap = sidecar_bootstrap(
                meshes.near.port,
                meshes.near.root_pem,
                meshes.near.join_token("messenger"),
                workload="messenger-1",
                service_account="messenger",
                http_proxy_port=free_port(),
                delta=True,
            )
            with sidecar(bootstrap, tmp_path):
                await _judge(meshes, app)


async def _judge(meshes: Meshes, app: Upstream) -> None:
    far = meshes.far_authority()
    near = load_store(meshes.near.state, time.time()).authority
    ours = meshes.client(near, OURS)
    await becomes(meshes, ours, 200)
    theirs = meshes.client(far, GREETER)
    assert await status_of(meshes, theirs) == 0
    await asyncio.to_thread(meshes.federate)
    await becomes(meshes, theirs, 200)
    xfcc = dict(app.requests[-1].headers)["x-forwarded-client-cert"]
    assert f"URI={GREETER}" in xfcc
    assert await status_of(meshes, ours) == 200
    # Their root speaks for their trust domain alone.
    assert await status_of(meshes, meshes.impostor()) == 0
    fetched = await asyncio.to_thread(lambda: eventually(lambda: meshes.metric("bundle_roots")))
    assert fetched == 1
    assert meshes.metric("refresh_failures") == 0
    await asyncio.to_thread(meshes.part)
    await becomes(meshes, theirs, 0)
    assert await status_of(meshes, ours) == 200


async def becomes(meshes: Meshes, context: ssl.SSLContext, status: int) -> None:
    """Asks again and again until the answer is this one."""
    async with asyncio.timeout(30):
        while await status_of(meshes, context) != status:
            pass
