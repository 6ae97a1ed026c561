"""Settings that a proxy says of itself stand in place of the mesh's; golden cases have the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit.envoy import emit
from controlplane.emit.node import BadNode, Node, parse
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse as read
from controlplane.mesh.model import Mesh
from controlplane.resources import assemble
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from protos.types import LDS
from tests.support.mesh import inbound, workload

MESH_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "defaultConfig: {proxyHeaders: {server: {value: of-mesh}}}"}
"""


def mesh() -> Mesh:
    parsed = read(MESH_CONFIG, "m.yaml")
    found, _ = build(Snapshot(parsed.objects), "cluster.local")
    return replace(found, workloads=(workload("messenger-1", inbound()),))


def proxy(**own: Any) -> Node:
    made = EnvoyNode(id="sidecar~127.0.0.1~messenger-1.default~default.svc.cluster.local")
    words = {"WORKLOAD_NAME": "messenger-1", "INTERCEPTION_MODE": "NONE"}
    made.metadata.update({**words, "HTTP_PROXY_PORT": "15080", **own})
    return parse(made)


def servers(found: Mesh, node: Node) -> set[tuple[str, int]]:
    """server_name and what becomes of it, of all listeners."""
    answers = set()
    for listener in emit(found, node).listeners:
        manager = hcm_pb2.HttpConnectionManager()
        assert listener.filter_chains[0].filters[-1].typed_config.Unpack(manager)
        answers.add((manager.server_name, int(manager.server_header_transformation)))
    return answers


def test_a_proxy_that_says_nothing_has_the_meshs() -> None:
    assert servers(mesh(), proxy()) == {("of-mesh", 0)}
    assert servers(mesh(), proxy(PROXY_CONFIG="{}")) == {("of-mesh", 0)}


def test_a_proxy_that_speaks_for_itself_has_its_own_and_nothing_of_the_meshs() -> None:
    headers = {"server": {"disabled": True}, "ofTomorrow": {}}
    said = {"proxyHeaders": headers, "concurrency": 2, "neverHeardOf": 1}
    assert servers(mesh(), proxy(PROXY_CONFIG=said)) == {("", 2)}
    assert servers(mesh(), proxy(PROXY_CONFIG={})) == {("", 0)}


def test_a_cache_gives_each_proxy_its_own() -> None:
    found = mesh()
    cache = SnapshotCache(found, lambda _: ())
    said = {"proxyHeaders": {"server": {"value": "mine"}}}
    for node in (proxy(), proxy(PROXY_CONFIG=said), proxy(PROXY_CONFIG={})):
        made = assemble(emit(found, node).encode()).of(LDS)
        bodies = {name: one.body for name, one in made.items()}
        assert {name: one.body for name, one in cache.snapshot(node).of(LDS).items()} == bodies


def test_numbers_come_as_they_are_meant() -> None:
    settings = proxy(PROXY_CONFIG={"gatewayTopology": {"numTrustedProxies": 2}}).settings
    assert settings is not None and settings.gateway_topology.num_trusted_proxies == 2


def test_what_a_proxy_says_wrongly_is_told_to_it() -> None:
    with pytest.raises(BadNode, match=r"PROXY_CONFIG\.gatewayTopology\.numTrustedProxies"):
        proxy(PROXY_CONFIG={"gatewayTopology": {"numTrustedProxies": "x"}})
