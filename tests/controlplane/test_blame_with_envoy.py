"""What a real Envoy refuses is told of the object that caused it, until that is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.envoy import envoy, require_envoy
from tests.support.ports import free_port
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.wait import eventually

PATIENCE_S = 60.0
CODES = ("Rejected", "PatchLeftOut", "ConfigurationKept")

MESH = """
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 80}, {name: other, port: 81}], selector: {app: cart}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: harmless}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 65536}}
"""

DANGLING = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lost}
spec:
  configPatches:
  - applyTo: NETWORK_FILTER
    match: {context: SIDECAR_OUTBOUND}
    patch:
      operation: MERGE
      value:
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network\
.http_connection_manager.v3.HttpConnectionManager
          rds: {route_config_name: lost, config_source: {ads: {}}}
"""

REFUSED = {
    "EnvoyFilter default/timeout": """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: timeout}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {portNumber: 80}}
    patch: {operation: MERGE, value: {connect_timeout: 0s}}
""",
    "DestinationRule default/cart": """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec:
  host: cart
  trafficPolicy:
    tls: {mode: SIMPLE, caCertificates: /nowhere/at/all.pem}
""",
    "VirtualService default/cart": """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart}
spec:
  hosts: [cart]
  http:
  - match: [{headers: {x-long: {regex: "([a-z]{1,900}[0-9]{1,900}){1}"}}}]
    route: [{destination: {host: cart, port: {number: 80}}}]
""",
}


def test_each_refusal_is_told_of_its_object_until_it_is_mended(tmp_path: Path) -> None:
    require_envoy()
    config = tmp_path / "mesh"
    config.mkdir()
    (config / "mesh.yaml").write_text(MESH)
    changing = config / "changing.yaml"
    with ControlPlane(config, tmp_path / "state", "--allow-sds-keys") as plane:
        token = plane.join_token("cart")
        bootstrap = sidecar_bootstrap(
            *(plane.port, plane.root_pem, token),
            workload="cart-1",
            service_account="cart",
            http_proxy_port=free_port(),
            delta=True,
        )
        with envoy(bootstrap, tmp_path):
            eventually(lambda: _in_order(plane), PATIENCE_S, "the proxy has all")
            for name, text in REFUSED.items():
                _blamed(plane, name, changing, text, "Rejected")
            name = "EnvoyFilter default/lost"
            _blamed(plane, name, changing, DANGLING, "PatchLeftOut")


def _blamed(plane: ControlPlane, name: str, path: Path, text: str, code: str) -> None:
    path.write_text(text)
    (status,) = eventually(lambda: _told(plane), PATIENCE_S, f"{name} is told")
    assert (status["object"], status["code"], status["severity"]) == (name, code, "error"), status
    assert "default/cart-1" in status["message"]
    assert status["position"].startswith(str(path))
    path.write_text("")
    eventually(lambda: _in_order(plane), PATIENCE_S, f"{name} is mended")


def _told(plane: ControlPlane) -> list[dict[str, Any]]:
    return [one for one in plane.status()["objects"] if one["code"] in CODES]


def _in_order(plane: ControlPlane) -> bool:
    """Whether the proxy has everything and nobody is blamed."""
    status = plane.status()
    synced = [one["synced"] for one in status["proxies"]]
    return synced == [True] and not _told(plane)
