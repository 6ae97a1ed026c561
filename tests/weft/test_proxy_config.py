"""Istio's ProxyConfig from all of its places, and what becomes of it where a sidecar is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.bootstrap import bootstrap
from weft.directory import read
from weft.errors import UserError
from weft.workload import Plan, command

MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig:
      holdApplicationUntilProxyStarts: true
      proxyMetadata: {A: mesh, B: mesh, C: mesh, D: mesh, E: mesh}
      proxyHeaders: {server: {value: mesh}, requestId: {disabled: true}}
      runtimeValues: {envoy.own: "7"}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: root, namespace: istio-system}
spec: {environmentVariables: {B: root, C: root, D: root, E: root}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: of-namespace, creationTimestamp: "2024-01-01T00:00:00Z"}
spec: {environmentVariables: {C: namespace, D: namespace, E: namespace}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: younger, creationTimestamp: "2024-01-02T00:00:00Z"}
spec: {environmentVariables: {C: younger}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: of-workload}
spec: {selector: {matchLabels: {app: web}}, environmentVariables: {E: workload}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: of-others}
spec: {selector: {matchLabels: {app: other}}, environmentVariables: {A: others}}
"""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata:
      labels: {app: web}
      annotations:
        proxy.istio.io/config: |
          proxyMetadata: {D: annotation, E: annotation, ISTIO_META_OWN: "yes"}
          proxyHeaders: {server: {value: annotation}}
    spec: {containers: [{command: [sleep, "1"]}]}
"""


def plan(directory: Path, *texts: str) -> Plan:
    (directory / "m.yaml").write_text("---\n".join(texts))
    (deployment,) = read(directory).deployments
    return Plan("web", deployment, {}, {}, 15001, 15000)


def test_the_nearest_place_counts_field_by_field(tmp_path: Path) -> None:
    node = plan(tmp_path, MESH, WEB).node()
    assert dict(node.variables) == {
        "A": "mesh",
        "B": "root",
        "C": "namespace",
        "D": "annotation",
        "E": "workload",
        "ISTIO_META_OWN": "yes",
    }
    made = bootstrap(node, xds_port=1, admin_port=2, root_file="/r")
    metadata = made["node"]["metadata"]
    assert metadata["OWN"] == "yes" and metadata["INTERCEPTION_MODE"] == "NONE"
    headers = metadata["PROXY_CONFIG"]["proxyHeaders"]
    assert headers == {"server": {"value": "annotation"}, "requestId": {"disabled": True}}
    (layer,) = made["layered_runtime"]["layers"]
    assert layer["static_layer"]["envoy.own"] == "7"
    assert "re2.max_program_size.error_level" in layer["static_layer"]


def test_the_program_waits_for_its_sidecar_where_it_is_said(tmp_path: Path) -> None:
    assert plan(tmp_path, MESH, WEB).deployment.proxy.holds
    assert not plan(tmp_path, WEB).deployment.proxy.holds


def test_variables_are_the_sidecars_and_not_the_programs(tmp_path: Path) -> None:
    assert "E" not in command(plan(tmp_path, MESH, WEB), tmp_path).env


def test_nothing_said_is_nothing_changed(tmp_path: Path) -> None:
    node = plan(tmp_path, WEB.replace("proxy.istio.io/config", "other")).node()
    assert (dict(node.said), dict(node.runtime), dict(node.variables)) == ({}, {}, {})


@pytest.mark.parametrize("wrong", ["'[a]'", "'a: ['"])
def test_an_annotation_that_is_no_mapping_is_told_with_its_place(
    tmp_path: Path, wrong: str
) -> None:
    head, _, rest = WEB.partition("proxy.istio.io/config: |")
    text = f"{head}proxy.istio.io/config: {wrong}\n    spec{rest.partition('    spec')[2]}"
    with pytest.raises(UserError, match=r"m\.yaml:\d+:\d+: .*proxy\.istio\.io/config"):
        plan(tmp_path, text)
