"""CUSTOM on ports whose bytes are not looked into: who can't be asked is told."""

from __future__ import annotations

import pytest

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Status
from controlplane.translate import build

MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders:
    - name: checker
      {kind}: {{service: till.shop.svc.cluster.local, port: 80}}
---
apiVersion: v1
kind: Service
metadata: {{name: till, namespace: shop}}
spec:
  selector: {{app: till}}
  ports:
  - {{name: http, port: 80, targetPort: 8080}}
  - {{name: tcp-db, port: 5432}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: till-1
  namespace: shop
  annotations: {{weft.dev/sidecar: "true", weft.dev/app-ports: '{{"http": 8080, "tcp-db": 5432}}'}}
spec:
  address: 127.0.0.1
  labels: {{app: till}}
  serviceAccount: till
  ports: {{http: 20001, tcp-db: 20002}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: ask
  namespace: shop
spec:
  action: CUSTOM
  provider: {{name: checker}}
  rules:
  - {rule}
"""


def told(rule: str, kind: str = "envoyExtAuthzHttp") -> list[Status]:
    parsed = parse(MESH.format(rule=rule, kind=kind), "mesh.yaml")
    inventory = Inventory()
    inventory.replace(Origin.file("mesh.yaml"), parsed.objects, parsed.statuses)
    _, statuses = build(inventory.snapshot(), "cluster.local")
    assert not [status for status in statuses if status.severity == "error"], statuses
    return [status for status in statuses if status.code == "HttpOnly"]


@pytest.mark.parametrize(
    "rule",
    [
        "{}",
        "{to: [{operation: {paths: [/a]}}]}",
        '{to: [{operation: {ports: ["20002"]}}]}',
        '{to: [{operation: {ports: ["20001"]}}, {operation: {paths: [/a]}}]}',
        "{when: [{key: destination.port, values: ['5432']}]}",
    ],
)
def test_who_is_asked_over_http_decides_nothing_about_connections(rule: str) -> None:
    (status,) = told(rule)
    assert status.severity == "warning"
    assert status.position.line == MESH[: MESH.index("  provider:")].count("\n") + 1
    assert "'checker' is asked over HTTP" in status.message
    assert "TCP ports 20002 of its workloads" in status.message


@pytest.mark.parametrize(
    "rule",
    [
        '{to: [{operation: {ports: ["20001"]}}]}',
        "{when: [{key: destination.port, values: ['80']}]}",
    ],
)
def test_rules_of_other_ports_are_no_news(rule: str) -> None:
    assert told(rule) == []


def test_who_is_asked_by_grpc_decides_there_too() -> None:
    assert told("{}", "envoyExtAuthzGrpc") == []
