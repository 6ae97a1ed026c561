"""Gateways that are everybody's, and routes that want them (Gateway API's default Gateways)."""

from __future__ import annotations

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.model import Mesh, Status
from controlplane.translate import build

HEAD = "apiVersion: gateway.networking.k8s.io/v1\n"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}
"""


def gateway(name: str, more: str = "", allowed: str = "All") -> str:
    return f"""{HEAD}
kind: Gateway
metadata: {{name: {name}, namespace: infra}}
spec:
  gatewayClassName: weft
  {more}
  listeners:
  - {{name: http, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{from: {allowed}}}}}}}
"""


def route(more: str) -> str:
    return f"""{HEAD}
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec: {{{more}rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}
"""


def built(*texts: str) -> tuple[Mesh, tuple[Status, ...]]:
    parsed = parse("\n---\n".join((SERVICE, *texts)), "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    return build(Snapshot(parsed.objects), "cluster.local")


def served_by(mesh: Mesh) -> list[str]:
    """The gateways that have the route."""
    return [
        one.name
        for one in mesh.gateways
        if any(host.rules for server in one.servers for host in server.virtual_hosts)
    ]


def said(mesh: Mesh, kind: str, name: str) -> ObjectConditions:
    return next(one for one in mesh.conditions if (one.kind, one.name) == (kind, name))


ALL = "defaultScope: All"
WANTS = "useDefaultGateways: All, "


def test_a_route_that_wants_them_is_at_all_of_them() -> None:
    mesh, statuses = built(
        gateway("a", ALL), gateway("b"), gateway("c", ALL), gateway("d", ALL, "Same"), route(WANTS)
    )
    assert {one.code for one in statuses} == {"AddressNotUsable"}  # no proxies are there
    assert served_by(mesh) == ["a.infra", "c.infra"]
    parents = said(mesh, "HTTPRoute", "web").parents
    assert [(one.parent.namespace, one.parent.name) for one in parents] == [
        ("infra", "a"), ("infra", "c"),
    ]  # fmt: skip
    assert [c.type for c in said(mesh, "Gateway", "a").conditions][-1] == "DefaultGateway"
    assert "DefaultGateway" not in [c.type for c in said(mesh, "Gateway", "b").conditions]


def test_one_that_it_names_counts_once_and_others_have_none() -> None:
    named = f"{WANTS}parentRefs: [{{name: a, namespace: infra}}, {{name: b, namespace: infra}}], "
    mesh, _ = built(gateway("a", ALL), gateway("b"), route(named))
    assert [one.parent.name for one in said(mesh, "HTTPRoute", "web").parents] == ["a", "b"]
    plain, _ = built(gateway("a", ALL), route("parentRefs: [{name: b, namespace: infra}], "))
    assert served_by(plain) == []


def test_without_any_it_is_told() -> None:
    mesh, statuses = built(gateway("b"), route(WANTS))
    assert [one.code for one in statuses if "HTTPRoute" in one.object] == ["NoMatchingParent"]
    assert served_by(mesh) == []
