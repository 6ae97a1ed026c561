"""Rules of routes and readings of Secrets are made again where what they are made of changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from controlplane.inventory import Inventory
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build, credentials
from controlplane.translate.gateways import http_rules
from controlplane.translate.memo import Memo

GATEWAYS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: one, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: one}]}}
  - {name: two, port: 444, protocol: HTTPS, tls: {certificateRefs: [{name: two}]}}
"""


def route(name: str, namespace: str = "default", path: str = "/") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
  - matches: [{{path: {{value: {path}}}}}]
    backendRefs: [{{name: {name}, namespace: {namespace}, port: 80}}]
"""


def service(name: str, port: int = 80, namespace: str = "default") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: {port}}}]}}
"""


def secret(name: str, value: str = "bm9uZQ==") -> str:
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: {name}}}
type: kubernetes.io/tls
data: {{tls.crt: {value}, tls.key: {value}}}
"""


GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: all, namespace: far}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""


class Remembering:
    """Builds with a memory, and looks whether each is that of one without."""

    def __init__(self, *texts: str) -> None:
        self._inventory, self._memo = Inventory(), Memo()
        self.after(*texts)

    def after(self, *texts: str) -> Mesh:
        for text in texts:
            for item in parse(text, "test").objects:
                self._inventory.put(item)
        snapshot = self._inventory.snapshot()
        found = build(snapshot, "cluster.local", self._memo)
        assert found == build(snapshot, "cluster.local")
        return found[0]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each was made; by a build with a memory and one without."""
    made: Counter[str] = Counter()
    real, pair = http_rules.HttpRules.of, credentials._pair

    def of(self: Any, one: Any, entrance: Any) -> Any:
        made[one.name] += 1
        return real(self, one, entrance)

    def read(one: Any, faults: Any) -> Any:
        made[one.name] += 1
        return pair(one, faults)

    monkeypatch.setattr(http_rules.HttpRules, "of", of)
    monkeypatch.setattr(credentials, "_pair", read)
    return made


def test_only_the_route_that_is_another_is_made_again(work: Counter[str]) -> None:
    names = ("a", "b")
    mesh = Remembering(GATEWAYS, *map(service, names), *map(route, names))
    work.clear()
    mesh.after(route("a", path="/new"))
    whole = work["b"]
    assert whole and work["a"] == 2 * whole


def test_a_service_is_one_of_its_routes(work: Counter[str]) -> None:
    names = ("a", "b")
    mesh = Remembering(GATEWAYS, *map(service, names), *map(route, names))
    work.clear()
    mesh.after(service("a", 81))
    assert work["a"] == 2 * work["b"] > 0


def test_leave_to_refer_counts() -> None:
    mesh = Remembering(GATEWAYS, service("a", namespace="far"), route("a", "far"))
    before = mesh.after(service("b"))
    after = mesh.after(GRANT)
    assert before.gateways != after.gateways


def test_only_the_secret_that_is_another_is_read_again(work: Counter[str]) -> None:
    mesh = Remembering(GATEWAYS, secret("one"), secret("two"))
    work.clear()
    mesh.after(secret("one", "bmV3"))
    assert work["one"] == 2 * work["two"] > 0
