"""Endpoints for clients that stay in their zone, and what tells a proxy how its own are spread."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node, seated
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.resources import assemble
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from protos.types import EDS
from tests.support.mesh import node

SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.9.0.1, locality: eu/a}
  - {address: 10.9.0.2, locality: eu/b}
  - {address: 10.9.0.3, locality: us/c}
  - {address: 10.9.0.4, locality: asia/d}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec:
  host: far.test
  trafficPolicy:
    loadBalancer: {zoneAwareLbSetting: {enabled: true, failover: [{from: eu, to: asia}]}}
---
apiVersion: v1
kind: Service
metadata: {name: messenger}
spec: {clusterIP: 10.0.0.9, selector: {app: me}, ports: [{name: http, port: 80}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: messenger-%d, labels: {app: me}}
spec: {address: 10.8.0.%d, ports: {http: 9101}, serviceAccount: messenger, locality: eu/%s}
"""
ASKING = {"ENABLE_SELF_DISCOVERY": "true"}


def meshed(*entries: tuple[int, str]) -> Mesh:
    texts = (SERVICES, *(ENTRY % (number, number, zone) for number, zone in entries))
    parsed = parse("\n---\n".join(texts), "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    return build(Snapshot(parsed.objects), "cluster.local")[0]


def caller(**facts: Any) -> Node:
    return node(locality=("eu", "a", ""), **facts)


def spread(mesh: Mesh, who: Node, name: str) -> list[tuple[str, str, int]]:
    """Region, zone and priority of each group of a cluster's endpoints."""
    (found,) = [one for one in emit(mesh, who).endpoints if one.cluster_name == name]
    return [(one.locality.region, one.locality.zone, one.priority) for one in found.endpoints]


def test_a_region_is_whole_and_others_come_after_it() -> None:
    found = spread(meshed(), caller(), "outbound|80||far.test")
    assert set(found) == {("eu", "a", 0), ("eu", "b", 0), ("us", "c", 2), ("asia", "d", 1)}


def test_a_proxy_that_asks_hears_of_its_own_service() -> None:
    mesh = meshed((1, "a"), (2, "b"))
    found = spread(mesh, caller(metadata=ASKING), "local_cluster")
    assert set(found) == {("eu", "a", 0), ("eu", "b", 0)}
    plain = emit(mesh, caller()).endpoints
    assert "local_cluster" not in {one.cluster_name for one in plain}


def test_it_hears_of_every_change_and_others_of_none() -> None:
    before, after = meshed((1, "a")), meshed((1, "a"), (2, "b"))
    cache = SnapshotCache(before, lambda _: ())
    asking, plain = caller(metadata=ASKING), caller()
    for mesh in (before, after, before):
        cache.set_mesh(mesh)
        for who in (asking, plain):
            made = assemble(emit(mesh, who).encode()).of(EDS)
            bodies = {name: one.body for name, one in made.items()}
            given = {name: one.body for name, one in cache.snapshot(who).of(EDS).items()}
            assert given == bodies


@pytest.mark.parametrize(
    ("setting", "percent"), [("{enabled: true}", 100), ("{enabled: false}", 0)]
)
def test_what_a_rule_says_of_zones_is_told_either_way(setting: str, percent: int) -> None:
    """Where nothing is told Envoy would keep to its zone by itself."""
    told = SERVICES.replace("{enabled: true, failover: [{from: eu, to: asia}]}", setting)
    parsed = parse(told, "m.yaml")
    mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
    (found,) = [one for one in emit(mesh, caller()).clusters if one.name.endswith("far.test")]
    zones = found.common_lb_config.zone_aware_lb_config
    assert zones.HasField("routing_enabled")
    assert zones.routing_enabled.value == percent


def test_a_proxy_that_does_not_say_where_it_is_stands_where_its_entry_does() -> None:
    mesh = meshed((1, "b"))
    workload = mesh.workload("default", "messenger-1")
    assert workload is not None
    asker = node()
    assert seated(asker, workload).locality == ("eu", "b", "")
    assert seated(caller(), workload).locality == ("eu", "a", "")
    assert seated(asker, None) is asker
