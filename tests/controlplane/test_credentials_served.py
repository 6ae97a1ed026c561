"""A Secret for TLS to a server outside, as both proxies take it and show it there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.controlplane.test_with_envoy import fetch
from tests.support.control_plane import ControlPlane
from tests.support.envoy import envoy, require_envoy
from tests.support.pki import Authority, KeyPair, server_context
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.upstream import Answer, Upstream
from tests.support.weft_proxy import weft_proxy

HOST = "partner.test"
MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: partner}}
spec:
  hosts: [partner.test]
  resolution: STATIC
  ports: [{{name: http, number: 80, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: partner}}
spec:
  host: partner.test
  trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: partner}}}}
"""
ROOT = Authority()


def secret(pair: KeyPair) -> str:
    values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": ROOT.pem}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "partner"},
            "type": "kubernetes.io/tls",
            "stringData": values,
        }
    )


def start(
    plane: ControlPlane, make: Callable[..., ProxyProcess], folder: Path
) -> tuple[ProxyProcess, int]:
    """A proxy and the port of its outbound HTTP proxy."""
    port = free_port()
    folder.mkdir()
    bootstrap = sidecar_bootstrap(
        plane.port,
        plane.root_pem,
        plane.join_token("client"),
        workload="client",
        service_account="client",
        http_proxy_port=port,
    )
    return make(bootstrap, folder), port


async def test_a_server_that_wants_a_certificate_gets_it(tmp_path: Path) -> None:
    require_envoy()
    config = tmp_path / "mesh"
    config.mkdir()
    pair = ROOT.issue(dns=(HOST,)).write(tmp_path, "server")
    shown = server_context(ROOT, pair)
    async with Upstream([Answer(body=b"well")], tls=shown) as partner:
        (config / "mesh.yaml").write_text(MESH.format(port=partner.port))
        (config / "secret.json").write_text(secret(ROOT.issue(dns=("me.test",))))
        with ExitStack() as stack:
            plane = stack.enter_context(ControlPlane(config, tmp_path / "state"))
            made = [
                start(plane, envoy, tmp_path / "envoy"),
                start(plane, weft_proxy, tmp_path / "weft"),
            ]
            entering = (asyncio.to_thread(stack.enter_context, proxy) for proxy, _ in made)
            await asyncio.gather(*entering)
            for _, port in made:
                assert await fetch(port, host=HOST) == (200, b"well")
        assert "PRIVATE KEY" not in plane.log
