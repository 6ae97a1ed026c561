"""The registry behind the management API, the pages and the metrics."""

from __future__ import annotations

import asyncio

from certs.spiffe import SpiffeId
from controlplane.api.encode import encode_proxy
from controlplane.mesh.model import Position, Status
from controlplane.metrics import Metrics
from controlplane.resources import EMPTY
from controlplane.status import StatusRegistry
from controlplane.tasks import spawn
from controlplane.xds.delta import DeltaStream
from controlplane.xds.service import Connection
from controlplane.xds.wire import Push
from protos.types import CDS, LDS
from tests.support.mesh import endpoint, mesh, node, service
from tests.support.xds import delta, snapshot

IDENTITY = SpiffeId.workload("cluster.local", "default", "messenger")
BAD = Status(Position("a.yaml", 3, 1), "error", "Unknown", "Service default/x", "no")


def connection(machine: DeltaStream) -> Connection:
    return Connection(node(user_agent="envoy 1.40.0"), IDENTITY, "delta", 100.0, machine)


def test_services_count_their_endpoints() -> None:
    registry = StatusRegistry()
    healthy, ill = endpoint(9101), endpoint(9102, health="UNHEALTHY")
    registry.configured("v1", mesh(service("messenger", healthy, ill)), (BAD,), 5.0)
    current = registry.current()
    (found,) = current.services
    assert (found.endpoints_total, found.endpoints_healthy) == (2, 1)
    assert (current.version, current.changed_at, current.objects) == ("v1", 5.0, (BAD,))


def test_the_time_of_change_is_that_of_the_version() -> None:
    registry = StatusRegistry()
    registry.configured("v1", mesh(), (), 5.0)
    registry.configured("v1", mesh(), (), 9.0)
    assert registry.changed_at == 5.0
    registry.configured("v2", mesh(), (), 11.0)
    assert registry.changed_at == 11.0


def test_a_proxy_is_synced_when_it_acknowledged_everything() -> None:
    machine = DeltaStream(snapshot(CDS={"a": "1"}))
    one = connection(machine)
    registry = StatusRegistry(lambda: (one,))
    (push,) = machine.feed(delta("CDS")).pushes
    (proxy,) = registry.current().proxies
    assert not proxy.synced
    assert (proxy.identity, proxy.user_agent) == (str(IDENTITY), "envoy 1.40.0")
    machine.feed(delta("CDS", nonce=push.nonce))
    (proxy,) = registry.current().proxies
    assert proxy.synced
    (clusters,) = proxy.types
    assert (clusters.type_url, clusters.resources) == (CDS, 1)
    assert clusters.sent_version == clusters.acked_version != ""


def test_a_change_that_is_on_its_way_is_not_synced() -> None:
    one = connection(DeltaStream(EMPTY))
    registry = StatusRegistry(lambda: (one,))
    assert registry.current().proxies[0].synced
    one.due = True
    assert not registry.current().proxies[0].synced


def test_rejections_are_named_by_resource() -> None:
    machine = DeltaStream(snapshot(LDS={"in": "1"}))
    registry = StatusRegistry(lambda: (connection(machine),))
    (push,) = machine.feed(delta("LDS")).pushes
    machine.feed(delta("LDS", nonce=push.nonce, error="bad filter"))
    (listeners,) = registry.current().proxies[0].types
    assert (listeners.type_url, listeners.rejected) == (LDS, {"in": "bad filter"})


def test_a_proxy_tells_what_its_configuration_does_without() -> None:
    registry = StatusRegistry(lambda: (connection(DeltaStream(EMPTY)),))
    assert registry.current().proxies[0].left_out == ()
    registry.left_out = lambda node: (f"a patch of {node.workload}",)
    (proxy,) = registry.current().proxies
    assert proxy.left_out == (f"a patch of {proxy.workload}",)
    assert list(encode_proxy(proxy).status.left_out) == list(proxy.left_out)


async def test_waiting_ends_with_any_change_and_at_once_for_one_that_was_missed() -> None:
    registry = StatusRegistry()
    seen = registry.changes
    waiters = [spawn(registry.wait(seen), "waiter") for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(waiter.done() for waiter in waiters)
    registry.configured("v1", mesh(), (), 1.0)
    for waiter in waiters:
        assert await asyncio.wait_for(waiter, 20) == seen + 1
    assert await asyncio.wait_for(registry.wait(seen), 20) == seen + 1


def test_metrics_tell_pushes_rejections_statuses_and_convergence() -> None:
    one = connection(DeltaStream(EMPTY))
    metrics = Metrics(lambda: (one,))
    metrics.pushed(one, Push(CDS, "1", "v", ("a",), (), (b"12", b"345")))
    metrics.converged(one, 0.03)
    metrics.configured((BAD, BAD))
    text = metrics.text().decode()
    for line in (
        'weft_controlplane_xds_pushes_total{type="CDS"} 1.0',
        'weft_controlplane_xds_push_bytes_total{type="CDS"} 5.0',
        'weft_controlplane_proxy_convergence_seconds_bucket{le="0.05"} 1.0',
        'weft_controlplane_proxy_convergence_seconds_bucket{le="0.025"} 0.0',
        'weft_controlplane_config_statuses{severity="error"} 2.0',
        "weft_controlplane_connected_proxies 1.0",
    ):
        assert line in text
