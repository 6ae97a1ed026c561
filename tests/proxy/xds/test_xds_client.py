"""The xDS client against a control plane over a real gRPC stream, both variants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protos.types import CDS, EDS, LDS, RDS, SDS
from proxy.config import bootstrap
from proxy.config.model.balancing import RandomLb, RoundRobinLb
from proxy.config.snapshot import Snapshot
from proxy.tasks import spawn
from proxy.xds import persist
from proxy.xds.client import LAST_GOOD_GRACE_S, XdsClient
from tests.support.envoy_resources import bootstrap_file, cluster, endpoints, listener, routes
from tests.support.fake_ads import FakeAds
from tests.support.wait import eventually_async


class Proxy:
    """A client with the snapshots that it published."""

    def __init__(
        self, path: Path, state_dir: Path | None = None, grace_s: float = LAST_GOOD_GRACE_S
    ) -> None:
        self.snapshots: list[Snapshot] = []
        self.client = XdsClient(
            bootstrap.load(path),
            self.snapshots.append,
            state_dir=state_dir,
            jitter=lambda: 0.0,
            last_good_grace_s=grace_s,
        )
        self.task = spawn(self.client.run(), "xds client")

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1] if self.snapshots else Snapshot()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def server() -> AsyncIterator[FakeAds]:
    ads = FakeAds()
    ads.put(CDS, "a", "1", cluster("a"))
    ads.put(EDS, "a", "1", endpoints("a", 8001))
    ads.put(LDS, "http", "1", listener("http", "r", 8080))
    ads.put(RDS, "r", "1", routes("r", "a"))
    await ads.start()
    yield ads
    await ads.stop()


@pytest.fixture(params=[True, False], ids=["delta", "sotw"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_everything_becomes_warm_and_is_acknowledged(
    server: FakeAds, tmp_path: Path, delta: bool
) -> None:
    proxy = Proxy(bootstrap_file(tmp_path, server.port, delta=delta))
    await eventually_async(lambda: "http" in proxy.last.listeners, what="the listener")
    assert proxy.last.assignments["a"].localities[0].endpoints[0].address.port == 8001
    assert proxy.last.routes["r"].virtual_hosts[0].name == "all"
    assert set(proxy.last.clusters) == {"xds", "a"}
    assert server.requests[0].type_url == CDS
    assert server.requests[0].node.id.startswith("sidecar~")
    assert not server.requests[1].HasField("node")
    await eventually_async(lambda: len(server.said(RDS)) == 2, what="the ACK of RDS")
    assert not any(each.HasField("error_detail") for each in server.requests)
    status = proxy.client.status()
    assert status.connected
    assert status.initial_fetch_done
    assert {raw.name for raw in status.resources} == {"a", "http", "r"}
    await proxy.stop()


async def test_listeners_wait_for_their_clusters_endpoints(server: FakeAds, tmp_path: Path) -> None:
    server.silent = frozenset({EDS})
    proxy = Proxy(bootstrap_file(tmp_path, server.port))
    await eventually_async(lambda: server.said(EDS), what="EDS asked for")
    assert not server.said(LDS)
    server.silent = frozenset()
    await server.push()
    await eventually_async(lambda: "http" in proxy.last.listeners, what="the listener")
    await proxy.stop()


async def test_a_bad_resource_is_refused_by_name_and_takes_no_neighbour_down(
    server: FakeAds, tmp_path: Path, delta: bool
) -> None:
    proxy = Proxy(bootstrap_file(tmp_path, server.port, delta=delta))
    await eventually_async(lambda: "http" in proxy.last.listeners, what="the listener")
    bad = cluster("a", lb_policy="CLUSTER_PROVIDED")
    server.put(CDS, "a", "2", bad)
    server.put(CDS, "b", "2", cluster("b"))
    server.put(EDS, "b", "2", endpoints("b", 8002))
    await server.push()
    await eventually_async(lambda: "b" in proxy.last.clusters, what="the neighbour")
    assert proxy.last.clusters["a"].lb == RoundRobinLb()
    nacks = await eventually_async(
        lambda: [each for each in server.requests if each.HasField("error_detail")], what="the NACK"
    )
    (nack,) = nacks
    assert nack.error_detail.message == (
        "a: lb_policy: is for clusters of the types ORIGINAL_DST, aggregate and "
        "dynamic_forward_proxy only"
    )
    (rejection,) = proxy.client.status().rejected
    assert (rejection.name, rejection.why) == ("a", nack.error_detail.message[3:])
    server.put(CDS, "a", "3", cluster("a", lb_policy="RANDOM"))
    await server.push()
    await eventually_async(lambda: proxy.last.clusters["a"].lb == RandomLb())
    assert proxy.client.status().rejected == ()
    await proxy.stop()


async def test_what_is_removed_goes_and_its_endpoints_are_unsubscribed(
    server: FakeAds, tmp_path: Path, delta: bool
) -> None:
    server.put(CDS, "b", "1", cluster("b"))
    server.put(EDS, "b", "1", endpoints("b", 8002))
    proxy = Proxy(bootstrap_file(tmp_path, server.port, delta=delta))
    await eventually_async(lambda: "b" in proxy.last.clusters, what="cluster b")
    del server.resources[CDS]["b"]
    await server.push()
    await eventually_async(lambda: "b" not in proxy.last.clusters, what="b gone")
    assert "b" not in proxy.last.assignments
    if delta:
        await eventually_async(
            lambda: any("b" in r.resource_names_unsubscribe for r in server.said(EDS))
        )
    else:
        await eventually_async(lambda: list(server.said(EDS)[-1].resource_names) == ["a"])
    await proxy.stop()


async def test_a_lost_control_plane_costs_nothing_and_only_differences_come_back(
    server: FakeAds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "weft.xds")
    proxy = Proxy(bootstrap_file(tmp_path, server.port))
    await eventually_async(lambda: "http" in proxy.last.listeners, what="the listener")
    await server.stop()
    await eventually_async(lambda: not proxy.client.status().connected, what="the loss")
    before = proxy.last
    server.requests.clear()
    await server.start()
    await eventually_async(lambda: proxy.client.status().connected, what="the return")
    await eventually_async(lambda: server.said(RDS), what="RDS asked for again")
    assert dict(server.said(CDS)[0].initial_resource_versions) == {"a": "1"}
    assert dict(server.said(RDS)[0].initial_resource_versions) == {"r": "1"}
    assert proxy.last is before
    await proxy.stop()
    texts = [record.getMessage() for record in caplog.records]
    assert sum("lost" in text for text in texts) == 1
    assert sum("again" in text for text in texts) == 1


async def test_the_last_good_configuration_serves_while_the_control_plane_is_away(
    server: FakeAds, tmp_path: Path, delta: bool
) -> None:
    path = bootstrap_file(tmp_path, server.port, delta=delta)
    state = tmp_path / "state"
    first = Proxy(path, state)
    await eventually_async(lambda: "http" in first.last.listeners, what="the listener")
    await first.stop()
    assert (state / persist.FILE).exists()
    await server.stop()
    second = Proxy(path, state)
    await eventually_async(lambda: "http" in second.last.listeners, what="the last good one")
    assert second.client.status().from_last_good
    assert second.last.assignments["a"].localities
    server.requests.clear()
    del server.resources[LDS]["http"]
    await server.start()
    await eventually_async(lambda: "http" not in second.last.listeners, what="the correction")
    assert not second.client.status().from_last_good
    await second.stop()


async def test_yesterdays_listener_is_never_opened_if_the_control_plane_is_there(
    server: FakeAds, tmp_path: Path
) -> None:
    path, state = bootstrap_file(tmp_path, server.port), tmp_path / "state"
    first = Proxy(path, state)
    await eventually_async(lambda: "http" in first.last.listeners, what="the listener")
    await first.stop()
    server.resources[LDS] = {"new": ("2", listener("new", "r", 8081))}
    second = Proxy(path, state, grace_s=60.0)
    await eventually_async(lambda: "new" in second.last.listeners, what="today's listener")
    assert not any("http" in each.listeners for each in second.snapshots)
    await second.stop()


async def test_a_refused_stream_is_tried_again_and_says_why(
    server: FakeAds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = "no such token"
    metadata = [{"key": "Authorization", "value": "Bearer secret"}]
    proxy = Proxy(bootstrap_file(tmp_path, server.port, metadata=metadata))
    await eventually_async(lambda: len(server.metadata) >= 2, what="another try")
    assert server.metadata[0]["authorization"] == "Bearer secret"
    assert any("no such token" in record.getMessage() for record in caplog.records)
    assert not any("Bearer" in record.getMessage() for record in caplog.records)
    server.refuse = ""
    await eventually_async(lambda: "http" in proxy.last.listeners, what="the listener")
    await proxy.stop()


async def test_secrets_come_by_name_and_are_asked_for_only_while_named(
    server: FakeAds, tmp_path: Path
) -> None:
    proxy = Proxy(bootstrap_file(tmp_path, server.port))
    await eventually_async(lambda: "http" in proxy.last.listeners, what="the listener")
    assert server.said(SDS) == []
    await proxy.stop()
