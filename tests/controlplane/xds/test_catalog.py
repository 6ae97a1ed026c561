"""Whatever meshes came before, a node gets exactly what emission makes of the present one."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from itertools import islice

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.inventory import Inventory
from controlplane.kinds.objects import Object
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from controlplane.translate.memo import Memo
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS, EDS, LDS, PUSH_ORDER, RDS, VHDS
from tests.support.histories import histories, step
from tests.support.mesh import endpoint, inbound, mesh, node, service, workload

NODES = (
    node("messenger-1", "messenger"),
    node("one", "x", namespace="shop", labels={"app": "b", "version": "v2"}),
    node("edge", "x", gateway=("127.0.0.1", 8080)),
    node("quiet", "x", http_proxy_port=0),
    node("messenger-1", "messenger", http_proxy_port=0, interception="REDIRECT"),
    node("one", "x", namespace="shop", labels={"app": "b", "version": "v2"}, interception="TPROXY"),
    node("patched", "x", labels={"app": "me"}),
    node("near", "web", labels={"app": "web"}, weft_agent=True),
    # Others who call themselves so: what they may have depends on who they are.
    replace(node("messenger-1", "messenger"), service_account="stranger"),
    replace(node("messenger-1", "messenger"), id="router~127.0.0.1~messenger-1"),
)


ON_DEMAND = (
    node("one", "x", on_demand=True),
    node("two", "x", namespace="shop", on_demand=True),
    node("messenger-1", "messenger", interception="REDIRECT", on_demand=True),
    node("one", "x", namespace="shop", http_proxy_port=0, interception="TPROXY", on_demand=True),
)


def no_secrets(of: Node) -> tuple[Secret, ...]:
    return ()


def emitted(of: Mesh, for_node: Node) -> dict[str, dict[str, bytes]]:
    types = emit(of, for_node).encode()
    return {url: {name: r.body for name, r in types[url].items()} for url in PUSH_ORDER}


def cached(cache: SnapshotCache, for_node: Node) -> dict[str, dict[str, bytes]]:
    snapshot = cache.snapshot(for_node)
    return {url: {name: r.body for name, r in snapshot.of(url).items()} for url in PUSH_ORDER}


def by_name(cache: SnapshotCache, for_node: Node) -> dict[str, tuple[int, dict[str, str]]]:
    """What may be asked for by name, and its digest."""
    types = {url: cache.snapshot(for_node).of(url) for url in (LDS, RDS, VHDS)}
    return {
        url: (found.digest, {name: one.version for name, one in found.items()})
        for url, found in types.items()
    }


def prepare_some(cache: SnapshotCache, of: Node, most: int) -> None:
    """As far as a stream may have come when a change interrupts it."""
    if (found := cache.preparation(of)) is not None:
        deque(islice(found[1], most), 0)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(), st.integers(min_value=2, max_value=6))
def test_incremental_is_whole(
    caplog: pytest.LogCaptureFixture, history: list[Object], stride: int
) -> None:
    caplog.set_level(logging.ERROR)
    inventory, memo = Inventory(), Memo()
    cache = SnapshotCache(Mesh("cluster.local"), no_secrets)
    for number, item in enumerate(history):
        step(inventory, item)
        if number % stride == 0:
            now, _ = build(inventory.snapshot(), "cluster.local", memo)
            cache.set_mesh(now)
            for one in NODES:
                prepare_some(cache, one, 3 * stride)
                assert cached(cache, one) == emitted(now, one)
            fresh = SnapshotCache(now, no_secrets)
            for one in ON_DEMAND:
                prepare_some(cache, one, 9 * stride)
                assert by_name(cache, one) == by_name(fresh, one)
    assert not caplog.records


ONE, TWO = service("one", endpoint(9101)), service("two", endpoint(9102))


def test_what_did_not_change_is_the_same_object() -> None:
    cache = SnapshotCache(mesh(ONE, TWO), no_secrets)
    before = cache.snapshot(node())
    cache.set_mesh(mesh(ONE, service("two", endpoint(9102), endpoint(9103))))
    after = cache.snapshot(node())
    changed = {url: after.of(url).changed_from(before.of(url)) for url in PUSH_ORDER}
    name = "outbound|8080||two.default.svc.cluster.local"
    assert {url: names for url, names in changed.items() if names} == {EDS: {name}}
    assert after.of(CDS)[name] is before.of(CDS)[name]


def test_a_node_that_a_change_does_not_concern_keeps_its_snapshot() -> None:
    workloads = (workload("a", inbound()), workload("b", inbound()))
    cache = SnapshotCache(mesh(ONE, workloads=workloads), no_secrets)
    before = {name: cache.snapshot(node(name)) for name in "ab"}
    cache.set_mesh(mesh(ONE, workloads=(workloads[0], workload("b", inbound(app_port=9009)))))
    assert cache.snapshot(node("a")) is before["a"]
    assert cache.snapshot(node("b")) is not before["b"]


def test_a_service_that_can_not_be_made_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = SnapshotCache(mesh(ONE, TWO), no_secrets)
    good = cache.snapshot(node()).of(EDS)
    bad = service("one", endpoint(99999999999))
    cache.set_mesh(mesh(bad, service("two", endpoint(9200))))
    after = cache.snapshot(node()).of(EDS)
    names = [
        "outbound|8080||one.default.svc.cluster.local",
        "outbound|8080||two.default.svc.cluster.local",
    ]
    assert [after[name] is good[name] for name in names] == [True, False]
    assert "one.default.svc.cluster.local cannot be built" in caplog.text


def test_who_calls_itself_the_same_gets_not_what_another_may_have() -> None:
    """A gateway's keys are for the account of its workload."""
    cache = SnapshotCache(mesh(ONE), no_secrets)
    one, other = NODES[0], NODES[-2]
    assert (one.workload, one.labels) == (other.workload, other.labels)
    assert cache.snapshot(one) is not cache.snapshot(other)
