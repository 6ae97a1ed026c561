"""Mutual TLS of the mesh through a gateway, unopened: real connections through Envoy and Weft."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from controlplane.emit.access import Guards
from controlplane.emit.gateways.whole import gateways
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build
from tests.support.envoy import envoy
from tests.support.mesh import node
from tests.support.pki import Authority, client_context, server_context
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.weft_proxy import weft_proxy

MESH = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: cross}}
spec:
  selector: {{app: me}}
  servers:
  - port: {{number: {gateway}, name: tls, protocol: TLS}}
    hosts: ["*.local"]
    tls: {{mode: AUTO_PASSTHROUGH}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{clusterIP: 10.0.0.9, selector: {{app: web}}, ports: [{{name: tcp, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: web-1, labels: {{app: web, version: v1, security.istio.io/tlsMode: istio}}}}
spec: {{address: 127.0.0.1, ports: {{tcp: {v1}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: web-2, labels: {{app: web, version: v2, security.istio.io/tlsMode: istio}}}}
spec: {{address: 127.0.0.1, ports: {{tcp: {v2}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: edge-1, labels: {{app: me}}}}
spec: {{address: 127.0.0.1, ports: {{tls: {gateway}}}}}
"""
WEB = "web.default.svc.cluster.local"


def bootstrap(text: str) -> dict[str, Any]:
    """What the gateway gets, with its endpoints inside."""
    parsed = parse(text, "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
    draft = gateways(mesh, node("edge-1", labels={"app": "me"}), Guards())
    hosts = {one.cluster_name: one for one in draft.endpoints}
    for cluster in draft.clusters:
        cluster.ClearField("eds_cluster_config")
        cluster.type = cluster.STATIC
        cluster.load_assignment.CopyFrom(hosts[cluster.name])
    for listener in draft.listeners:
        listener.address.socket_address.address = "127.0.0.1"
    resources = {"clusters": draft.clusters, "listeners": draft.listeners}
    return {
        "static_resources": {
            kind: [json_format.MessageToDict(one) for one in found]
            for kind, found in resources.items()
        }
    }


async def said(port: int, context: ssl.SSLContext, sni: str) -> str:
    """What the server says that answers; '' where nobody does."""
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=sni
        )
        answer = (await reader.read()).decode()
        writer.close()
    except (OSError, ssl.SSLError):
        return ""
    return answer


@pytest.mark.parametrize("start", [envoy, weft_proxy], ids=["envoy", "weft"])
async def test_the_server_name_chooses_who_ends_the_tls(
    tmp_path: Path, start: Callable[[dict[str, Any], Path], ProxyProcess]
) -> None:
    authority = Authority()
    pairs = {n: authority.issue(dns=(n,)).write(tmp_path, n) for n in ("v1", "v2", "client")}
    ports: dict[str, int] = {"gateway": free_port()}
    servers = []
    for name in ("v1", "v2"):
        context = server_context(authority, pairs[name])
        context.set_alpn_protocols(["istio"])
        server = await asyncio.start_server(answering(name), "127.0.0.1", 0, ssl=context)
        ports[name] = server.sockets[0].getsockname()[1]
        servers.append(server)
    known, stranger = (client_context(authority, pairs["client"]) for _ in range(2))
    known.set_alpn_protocols(["istio"])
    proxy = await asyncio.to_thread(start(bootstrap(MESH.format(**ports)), tmp_path).start)
    try:
        at = ports["gateway"]
        found = {
            name: await said(at, known, f"outbound_.80_.{name}_.{WEB}") for name in ("v1", "v2")
        }
        anyone = await said(at, known, f"outbound_.80_._.{WEB}")
        lost = [
            await said(at, known, f"outbound_.81_._.{WEB}"),
            await said(at, known, WEB),
            await said(at, stranger, f"outbound_.80_._.{WEB}"),
        ]
    finally:
        await asyncio.to_thread(proxy.stop)
        for server in servers:
            server.close()
    assert found == {"v1": "v1 for client", "v2": "v2 for client"}
    assert anyone in found.values()
    assert lost == ["", "", ""]


def answering(
    name: str,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """Says who it is, and who showed which certificate."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert")
        (kind,) = [value for key, value in peer["subjectAltName"] if key == "DNS"]
        writer.write(f"{name} for {kind}".encode())
        await writer.drain()
        writer.close()

    return answer
