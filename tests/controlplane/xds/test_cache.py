"""Snapshots by node: shared where equal, kept where the new ones are broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.emit.node import Node
from controlplane.mesh.model import Destination, HttpRule, RouteMatch
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS, LDS, RDS, SDS
from tests.support.mesh import endpoint, inbound, mesh, node, service, workload

PLAIN = mesh(service("messenger", endpoint(9101)), workloads=(workload("messenger-1", inbound()),))


def secrets_for(of: Node) -> tuple[Secret, ...]:
    return (Secret(name=of.service_account),)


def test_nodes_with_equal_content_share_its_bytes() -> None:
    cache = SnapshotCache(PLAIN, secrets_for)
    one, two = cache.snapshot(node("a", "x")), cache.snapshot(node("b", "x"))
    assert one.version == two.version
    for type_url in (CDS, RDS):
        for name, resource in one.of(type_url).items():
            assert two.of(type_url)[name] is resource


def test_each_node_gets_its_own_inbound_side_and_secrets() -> None:
    cache = SnapshotCache(PLAIN, secrets_for)
    assert set(cache.snapshot(node("messenger-1", "a")).of(LDS)) == {
        "127.0.0.1_9101",
        "127.0.0.1_15080",
    }
    other = cache.snapshot(node("other", "b"))
    assert set(other.of(LDS)) == {"127.0.0.1_15080"}
    assert set(other.of(SDS)) == {"b"}


def test_labels_matter_only_where_a_rule_asks_for_them() -> None:
    cache = SnapshotCache(PLAIN, secrets_for)
    one = cache.snapshot(node(labels={"app": "a"})).of(RDS)["http_proxy"]
    assert cache.snapshot(node(labels={"app": "b"})).of(RDS)["http_proxy"] is one
    host = PLAIN.services[0].hostname
    rule = HttpRule((RouteMatch(source_labels={"app": "a"}),), (Destination(host),))
    cache.set_mesh(replace(PLAIN, services=(replace(PLAIN.services[0], rules=(rule,)),)))
    versions = {
        cache.snapshot(node(labels={"app": app})).of(RDS)["http_proxy"].version for app in "ab"
    }
    assert len(versions) == 2
    pods = [cache.snapshot(node(labels={"app": "a", "pod": pod})).of(RDS) for pod in "xy"]
    assert pods[0]["http_proxy"] is pods[1]["http_proxy"]


def test_an_unchanged_mesh_has_the_same_version() -> None:
    cache = SnapshotCache(PLAIN, secrets_for)
    before = cache.snapshot(node()).version
    cache.set_mesh(replace(PLAIN))
    assert cache.snapshot(node()).version == before


def test_a_broken_part_keeps_the_last_good_one_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = SnapshotCache(PLAIN, secrets_for)
    good = cache.snapshot(node("messenger-1"))
    twice = workload("messenger-1", inbound(), inbound(app_port=9009))
    cache.set_mesh(mesh(*PLAIN.services, service("extra", endpoint(9102)), workloads=(twice,)))
    after = cache.snapshot(node("messenger-1"))
    assert after.of(LDS) == good.of(LDS)
    assert set(after.of(CDS)) - set(good.of(CDS)) == {
        "outbound|8080||extra.default.svc.cluster.local"
    }
    assert "listener 127.0.0.1_9101 exists twice" in caplog.text
    cache.set_mesh(PLAIN)
    assert cache.snapshot(node("messenger-1")).version == good.version


def test_a_failure_while_building_keeps_the_last_good_one_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = SnapshotCache(PLAIN, secrets_for)
    good = cache.snapshot(node())
    impossible = replace(PLAIN.services[0].endpoints[0], ports={8080: 99999999999})
    cache.set_mesh(replace(PLAIN, services=(replace(PLAIN.services[0], endpoints=(impossible,)),)))
    assert cache.snapshot(node()).of(CDS) == good.of(CDS)
    assert "cannot be built" in caplog.text
