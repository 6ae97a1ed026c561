"""Identity and xDS client of a sidecar against our own control plane, as `weft up` joins them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from certs.csr import make_csr
from certs.keys import generate_key
from certs.x509 import chain_from_pem, spiffe_id
from protos.gen.istio import ca_pb2
from proxy.config import bootstrap
from proxy.config.snapshot import Snapshot
from proxy.identity import Identity, IdentityOptions
from proxy.tasks import spawn
from proxy.xds.client import XdsClient
from tests.support.control_plane import ControlPlane
from tests.support.ports import free_port
from tests.support.wait import eventually_async
from weft.bootstrap import Node
from weft.bootstrap import bootstrap as sidecar_bootstrap

MESH = """
apiVersion: v1
kind: Service
metadata: {name: messenger}
spec:
  selector: {app: messenger}
  ports: [{name: http, port: 8080, targetPort: http}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: messenger-1
  annotations: {weft.dev/sidecar: "true", weft.dev/app-ports: '{"http": 9}'}
spec:
  address: 127.0.0.1
  ports: {http: INBOUND}
  labels: {app: messenger}
  serviceAccount: messenger
"""
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
CLUSTER = "outbound|8080||messenger.default.svc.cluster.local"


def sidecar(plane: ControlPlane, folder: Path, http_proxy_port: int) -> Path:
    """The bootstrap of messenger-1's sidecar, and its token beside it."""
    node = Node(
        "messenger-1", "default", "messenger", {"app": "messenger"}, "messenger", http_proxy_port
    )
    mtls_port = int(plane.serving["mtls_address"].rpartition(":")[2])
    root = str(plane.state / "root.pem")
    plain = sidecar_bootstrap(node, xds_port=mtls_port, admin_port=free_port(), root_file=root)
    del plain["node"]["metadata"]["WEFT_ON_DEMAND"]  # nobody asks for anything here
    (folder / "token").write_text(plane.join_token("messenger"))
    (folder / "token").chmod(0o600)
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(plain))
    return path


async def test_a_sidecar_gets_certificate_and_configuration_and_keeps_both(
    tmp_path: Path,
) -> None:
    config = tmp_path / "mesh"
    config.mkdir()
    inbound, http_proxy_port = free_port(), free_port()
    (config / "mesh.yaml").write_text(MESH.replace("INBOUND", str(inbound)))
    with ControlPlane(config, tmp_path / "state") as plane:
        path = sidecar(plane, tmp_path, http_proxy_port)
        options = IdentityOptions(
            plane.serving["address"],
            plane.state / "root.pem",
            tmp_path / "token",
            tmp_path / "proxy",
            plane.serving["mtls_address"],
        )
        await follow(path, options, inbound, http_proxy_port)
    # And again without a control plane: everything is on disk.
    await follow(path, options, inbound, http_proxy_port, there=False)


async def follow(
    path: Path, options: IdentityOptions, inbound: int, http_proxy_port: int, there: bool = True
) -> None:
    """Runs a proxy's client until all is warm, and then a little: it saves on the way out."""
    snapshots: list[Snapshot] = []
    identity = Identity(options)
    client = XdsClient(
        bootstrap.load(path), snapshots.append, identity=identity, state_dir=options.state_dir
    )
    tasks = [spawn(client.run(), "xds"), spawn(identity.run(), "identity")]
    wanted = {f"127.0.0.1_{inbound}", f"127.0.0.1_{http_proxy_port}"}
    try:
        await eventually_async(
            lambda: snapshots and wanted <= snapshots[-1].listeners.keys(), what="both listeners"
        )
        snapshot = snapshots[-1]
        (locality,) = snapshot.assignments[CLUSTER].localities
        assert locality.endpoints[0].address.port == inbound
        assert snapshot.secrets.keys() == {"default", "ROOTCA"}
        assert snapshot.clusters[CLUSTER].tls is not None
        assert "http_proxy" in snapshot.routes
        assert client.status().rejected == ()
        await rides_along(client, options, there)
        assert b"PRIVATE KEY" not in b"".join(raw.body for raw in client.status().resources)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def rides_along(client: XdsClient, options: IdentityOptions, there: bool) -> None:
    """Another certificate over the discovery stream's connection, whose own is its proof."""
    assert client.beside(options.ca_address, CREATE) is None  # the stream goes elsewhere
    if there:
        await eventually_async(lambda: client.connected, what="the stream")
    call = client.beside(options.ca_mtls_address, CREATE)
    assert (call is not None) == there
    if call is not None:
        request = ca_pb2.IstioCertificateRequest(csr=make_csr(generate_key()).decode())
        await call.send(request.SerializeToString(), end=True)
        answer = ca_pb2.IstioCertificateResponse.FromString(await call.receive() or b"")
        call.close()
        identity = spiffe_id(chain_from_pem(answer.cert_chain[0].encode())[0])
        assert str(identity) == "spiffe://cluster.local/ns/default/sa/messenger"
        assert client.connected
