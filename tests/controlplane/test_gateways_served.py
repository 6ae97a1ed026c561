"""A control plane serves gateways: a real Envoy and a Weft proxy take what comes in from outside.

Each has a Gateway of its own; one HTTPRoute is at both. Certificates come from a Secret, ports from
the Service before the proxy.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support.control_plane import ControlPlane
from tests.support.echo_client import Ask, ask
from tests.support.envoy import envoy, require_envoy
from tests.support.pki import Authority
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually_async
from tests.support.weft_proxy import weft_proxy

HOST = "shop.example.com"
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
ROOT = Authority()

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1]}}]
ports: [{{name: http, port: {port}}}]
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  gatewayClassName: weft
  listeners:
    - {{name: http, port: 80, protocol: HTTP}}
    - name: https
      port: 443
      protocol: HTTPS
      hostname: "*.example.com"
      tls: {{certificateRefs: [{{name: edge}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-1}}
spec:
  address: 127.0.0.1
  labels: {{gateway.networking.k8s.io/gateway-name: {name}}}
  serviceAccount: {name}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{gateway.networking.k8s.io/gateway-name: {name}}}
  ports:
    - {{name: tcp, port: 80, targetPort: {http}}}
    - {{name: tls, port: 443, targetPort: {https}}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: envoy}}, {{name: weft}}]
  hostnames: [shop.example.com]
  rules:
    - matches: [{{path: {{value: /old}}}}]
      backendRefs: [{{name: one, port: 80}}]
    - backendRefs: [{{name: {target}, port: 80}}]
"""


def secret() -> str:
    pair = ROOT.issue(dns=("*.example.com",))
    values = {"tls.crt": pair.certificate, "tls.key": pair.key}
    kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
    return json.dumps({**kind, "metadata": {"name": "edge"}, "stringData": values})


class Edge:
    """One proxy as the gateway of its name."""

    def __init__(self, name: str, reservation: Reservation) -> None:
        self.name = name
        self.http, self.https = reservation.port(), reservation.port()

    def manifest(self) -> str:
        return GATEWAY.format(name=self.name, http=self.http, https=self.https)

    def start(
        self, plane: ControlPlane, make: Callable[..., ProxyProcess], folder: Path
    ) -> ProxyProcess:
        folder.mkdir()
        bootstrap = sidecar_bootstrap(
            plane.port,
            plane.root_pem,
            plane.join_token(self.name),
            workload=f"{self.name}-1",
            service_account=self.name,
            metadata={"LABELS": {GATEWAY_NAME: self.name}},
        )
        return make(bootstrap, folder)

    async def body(self, path: str = "/", *, tls: bool = False) -> bytes:
        context = ssl.create_default_context(cadata=ROOT.pem) if tls else None
        answer = await ask(self.https if tls else self.http, Ask(HOST, path), context, HOST)
        return answer.body


async def test_gateways_take_what_comes_in(tmp_path: Path) -> None:
    require_envoy()
    config = tmp_path / "mesh"
    config.mkdir()
    with Reservation() as reservation, ExitStack() as stack:
        edges = [Edge("envoy", reservation), Edge("weft", reservation)]
        async with Upstream([Answer(body=b"one")]) as one, Upstream([Answer(body=b"two")]) as two:
            services = [("one", one.port), ("two", two.port)]
            texts = [SERVICE.format(name=name, port=port) for name, port in services]
            texts += [edge.manifest() for edge in edges]
            (config / "mesh.yaml").write_text("\n---\n".join(texts))
            (config / "secret.json").write_text(secret())
            (config / "route.yaml").write_text(ROUTE.format(target="one"))
            plane = stack.enter_context(ControlPlane(config, tmp_path / "state"))
            made = [
                edge.start(plane, make, tmp_path / edge.name)
                for edge, make in zip(edges, (envoy, weft_proxy), strict=True)
            ]
            await asyncio.gather(*(asyncio.to_thread(stack.enter_context, one) for one in made))
            for edge in edges:
                assert await edge.body() == b"one"
                assert await edge.body(tls=True) == b"one"
            before = plane.status()["version"]
            (config / "route.yaml").write_text(ROUTE.format(target="two"))
            await eventually_async(lambda: all_synced(plane, before))
            for edge in edges:
                assert await edge.body(tls=True) == b"two"
                assert await edge.body("/old/x") == b"one"
        assert "PRIVATE KEY" not in plane.log


def all_synced(plane: ControlPlane, before: str) -> bool:
    """With another version than `before`."""
    status = plane.status()
    return status["version"] != before and all(proxy["synced"] for proxy in status["proxies"])
