"""By whose labels policies are chosen, and what a listener has because of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit.access import Guards
from controlplane.emit.envoy import beside, sidecar
from controlplane.emit.listeners import inbound as listener_of
from controlplane.emit.node import Node
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh, TlsMode
from controlplane.mesh.policy import Authorizer
from controlplane.snapshot import Draft
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from protos.types import LDS
from tests.support.emit_cases import guarded
from tests.support.mesh import inbound, node, unmetered

DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny}
spec: {action: DENY, selector: {matchLabels: {app: %s}}, rules: [{}]}
"""

IDLE = ("fault", "cors", "dynamic_forward_proxy")
"""What every outbound listener has for rules that may come."""

OURS: dict[str, Any] = {"http_proxy_port": 0, "weft_agent": True}


def own_side(mesh: Mesh, of: Node) -> Draft:
    return sidecar(beside(unmetered(mesh), of), of)


def filters(listener: Listener) -> list[str]:
    manager = hcm_pb2.HttpConnectionManager()
    assert listener.filter_chains[0].filters[-1].typed_config.Unpack(manager)
    names = [one.name.rpartition(".")[2] for one in manager.http_filters]
    return [name for name in names if name not in IDLE]


def of_gateway(mesh: Mesh, **facts: Any) -> list[str]:
    """The filters of the gateway's listener."""
    facts = {"gateway": ("127.0.0.1", 8080), **facts}
    return filters(own_side(mesh, node("edge", **facts)).listeners[-1])


def test_the_mesh_knows_the_labels_of_its_workloads() -> None:
    """A sidecar that gives itself other labels keeps its policies."""
    mesh = guarded(DENY % "messenger-1")
    (listener,) = own_side(mesh, node(labels={"app": "harmless"}, **OURS)).listeners
    assert filters(listener) == ["rbac", "router"]


def test_an_unknown_workload_is_taken_at_its_word() -> None:
    mesh = guarded(DENY % "edge")
    assert of_gateway(mesh, labels={"app": "edge"}) == ["rbac", "router"]
    assert of_gateway(mesh, labels={"app": "other"}) == ["router"]


def test_a_gateway_is_the_target_of_a_policy_by_its_name() -> None:
    target = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]"
    mesh = guarded((DENY % "x").replace("selector: {matchLabels: {app: x}}", target))
    label = "gateway.networking.k8s.io/gateway-name"
    assert of_gateway(mesh, labels={label: "edge"}) == ["rbac", "router"]
    assert of_gateway(mesh, labels={label: "inner"}) == ["router"]
    (listener,) = own_side(mesh, node(**OURS)).listeners
    assert filters(listener) == ["router"]


def test_a_snapshot_is_not_shared_by_nodes_of_other_labels() -> None:
    cache = SnapshotCache(guarded(DENY % "edge"), lambda _: ())

    def listeners(app: str) -> object:
        asking = Node("n", workload="edge", labels={"app": app}, gateway=("127.0.0.1", 8080))
        return cache.snapshot(asking).types[LDS]

    assert listeners("edge") != listeners("other")
    assert listeners("other") == listeners("another")


@pytest.mark.parametrize(
    ("fault", "expected"), [("", ["rbac", "ext_authz", "router"]), ("gone", ["rbac", "router"])]
)
def test_who_can_not_be_asked_is_not(fault: str, expected: list[str]) -> None:
    ask = (DENY % "x").replace("action: DENY, ", "action: CUSTOM, provider: {name: p}, ")
    everywhere = ask.replace("selector: {matchLabels: {app: x}}, ", "")
    mesh, _ = build(Snapshot(parse(everywhere, "p").objects), "cluster.local")
    asked = Authorizer("p", "grpc", host="a.test", port=9000, fault=fault)
    guards = replace(Guards.of(mesh.security, "default", {}), authorizers=(asked,))
    assert filters(listener_of(inbound(), ("cluster.local",), guards)) == expected


@pytest.mark.parametrize(
    ("mode", "condition", "inspected"),
    [
        ("STRICT", "connection.sni", True),
        ("STRICT", "source.principal", False),
        ("PERMISSIVE", "source.principal", True),
        ("DISABLE", "connection.sni", False),
    ],
)
def test_a_server_name_is_found_where_a_policy_asks_for_it(
    mode: TlsMode, condition: str, inspected: bool
) -> None:
    """Envoy knows it from its TLS inspector only."""
    rules = f"[{{when: [{{key: {condition}, values: [a]}}]}}]"
    text = (DENY % "x").replace("[{}]", rules).replace("selector: {matchLabels: {app: x}}, ", "")
    mesh, _ = build(Snapshot(parse(text, "p").objects), "cluster.local")
    guards = Guards.of(mesh.security, "default", {})
    assert guards.access
    found = listener_of(inbound(mtls=mode), ("cluster.local",), guards)
    assert bool(found.listener_filters) == inspected
