"""The xDS client with a demand: what requests ask for is subscribed to, kept and forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf import json_format

from protos.types import CDS, EDS, LDS, RDS, VHDS
from proxy.config import bootstrap
from proxy.config.snapshot import Snapshot
from proxy.demand import Demand
from proxy.tasks import spawn
from proxy.xds import persist
from proxy.xds.client import XdsClient
from tests.support.envoy_resources import ADS, bootstrap_file, cluster, endpoints, listener
from tests.support.fake_demand import FakeDemand
from tests.support.wait import eventually_async


class Proxy:
    """A client whose snapshots are in force as they come."""

    def __init__(self, path: Path, state: Path | None = None) -> None:
        self.last = Snapshot()
        self.snapshots = 0
        self.applying = False
        loop = asyncio.get_running_loop()
        self.demand = Demand(loop.call_later, time.monotonic)
        self.client = XdsClient(
            bootstrap.load(path),
            self._apply,
            state_dir=state,
            jitter=lambda: 0.0,
            demand=self.demand,
            applying=lambda: self.applying,
        )
        self.task = spawn(self.client.run(), "xds client")

    def _apply(self, snapshot: Snapshot) -> None:
        self.last = snapshot
        self.snapshots += 1
        fetching = {name: False for name, one in snapshot.routes.items() if one.fetches_hosts}
        self.demand.settle(fetching, snapshot.answers)

    async def serves(self) -> None:
        await eventually_async(lambda: "l" in self.last.listeners, what="the listener")

    async def get(self, type_url: str, name: str) -> bool | None:
        told: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        asked = self.demand.wait((type_url, name), told.set_result, 30.0, "10.0.0.1")
        assert asked == "waits"
        return await told

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def host(name: str, target: str, body: str = "") -> VirtualHost:
    action = {"direct_response": {"status": 200, "body": {"inline_string": body}}}
    route = action if body else {"route": {"cluster": target}}
    routes = [{"match": {"prefix": "/"}, **route}]
    return json_format.ParseDict({"name": name, "domains": [name], "routes": routes}, VirtualHost())


@pytest.fixture
async def server() -> AsyncIterator[FakeDemand]:
    ads = FakeDemand(hosts={"t/one": host("one", "a")})
    for name in ("a", "b", "mine"):
        ads.put(CDS, name, "1", cluster(name))
        ads.put(EDS, name, "1", endpoints(name, 8001))
    ads.unasked = frozenset({"mine"})
    ads.put(LDS, "l", "1", listener("l", "t", 8080))
    table = {"name": "t", "vhds": {"config_source": ADS}}
    ads.put(RDS, "t", "1", json_format.ParseDict(table, RouteConfiguration()))
    await ads.start()
    yield ads
    await ads.stop()


async def test_what_is_asked_for_is_held_with_what_it_names(
    server: FakeDemand, tmp_path: Path
) -> None:
    proxy = Proxy(bootstrap_file(tmp_path, server.port))
    await proxy.serves()
    assert set(proxy.last.clusters) == {"xds", "mine"}
    assert await proxy.get(VHDS, "t/one") is True
    assert await proxy.get(VHDS, "t/two") is False
    assert await proxy.get(CDS, "b") is True
    assert await proxy.get(CDS, "nowhere") is False
    await eventually_async(lambda: {"a", "b"} <= set(proxy.last.clusters), what="its cluster")
    assert [one.name for one in proxy.last.routes["t"].virtual_hosts] == ["one"]
    proxy.demand.names.clear()
    proxy.demand.on_change()
    await eventually_async(lambda: server.held[CDS] == {"*"}, what="unsubscribed")
    assert set(proxy.last.clusters) == {"xds", "mine"}
    assert proxy.last.routes["t"].virtual_hosts == ()
    await proxy.stop()


async def test_names_that_do_not_exist_are_answered_without_a_new_configuration(
    server: FakeDemand, tmp_path: Path
) -> None:
    """Nor is one that is under way to be overtaken: what it brings may be what is asked for."""
    proxy = Proxy(bootstrap_file(tmp_path, server.port))
    await proxy.serves()
    await eventually_async(lambda: "mine" in proxy.last.clusters, what="the cluster")
    before = proxy.snapshots
    for name in ("nowhere", "nor here"):
        assert await proxy.get(CDS, name) is False
        assert await proxy.get(LDS, f"{name}_80") is False
        assert await proxy.get(VHDS, f"t/{name}") is False
    assert await proxy.get(CDS, "mine") is True
    assert proxy.snapshots == before
    proxy.applying = True
    waiting = spawn(proxy.get(CDS, "not now"), "asks")
    await eventually_async(lambda: "not now" in server.held[CDS], what="it is asked for")
    assert not waiting.done()
    proxy.applying = False
    proxy.client.applied()
    assert await waiting is False
    assert proxy.snapshots == before
    await proxy.stop()


async def test_a_bad_virtual_host_is_refused_and_nobody_waits_for_it(
    server: FakeDemand, tmp_path: Path
) -> None:
    server.hosts["t/long"] = host("long", "", "x" * 5000)
    proxy = Proxy(bootstrap_file(tmp_path, server.port))
    await proxy.serves()
    assert await proxy.get(VHDS, "t/long") is False
    (rejected,) = proxy.client.status().rejected
    assert "longer than the table's 4096 bytes" in rejected.why
    await proxy.stop()


async def test_a_bad_listener_is_refused_and_known_as_such(
    server: FakeDemand, tmp_path: Path
) -> None:
    """The control plane hears of it; connections to it must not be served by another one."""
    bad = listener("0.0.0.0_80", "t", 80)
    bad.bind_to_port.value = False
    bad.filter_chains[0].filter_chain_match.server_names.extend(["a", "b"])
    bad.filter_chains.add().CopyFrom(bad.filter_chains[0])
    del bad.filter_chains[1].filter_chain_match.server_names[0]
    server.put(LDS, "0.0.0.0_80", "1", bad)
    proxy = Proxy(bootstrap_file(tmp_path, server.port))
    await proxy.serves()
    assert await proxy.get(LDS, "0.0.0.0_80") is True
    why = (
        "filter_chains[1].filter_chain_match: "
        "overlaps with filter_chains[0]: both match some connections"
    )
    assert proxy.last.refused == {(LDS, "0.0.0.0_80"): why}
    assert "0.0.0.0_80" not in proxy.last.listeners
    (rejected,) = proxy.client.status().rejected
    assert rejected.why == why
    await proxy.stop()


async def test_a_restart_asks_for_what_it_had_and_gets_nothing_twice(
    server: FakeDemand, tmp_path: Path
) -> None:
    path = bootstrap_file(tmp_path, server.port)
    proxy = Proxy(path, tmp_path)
    await proxy.serves()
    await proxy.get(VHDS, "t/one")
    await eventually_async(lambda: "a" in proxy.last.clusters, what="its cluster")
    await proxy.stop()
    again = Proxy(path, tmp_path)
    await eventually_async(lambda: again.last.routes, what="routes")
    await eventually_async(lambda: "t/one" in server.held.get(VHDS, ()), what="asked again")
    assert [one.name for one in again.last.routes["t"].virtual_hosts] == ["one"]
    assert set(server.told[VHDS]) == {"t/one"}
    assert "a" in server.told[CDS]
    await again.stop()


async def test_what_is_gone_meanwhile_is_not_held(server: FakeDemand, tmp_path: Path) -> None:
    """Told so without a body: with another version than ours it is no heartbeat."""
    path = bootstrap_file(tmp_path, server.port)
    proxy = Proxy(path, tmp_path)
    await proxy.serves()
    await proxy.get(VHDS, "t/one")
    await proxy.stop()
    del server.hosts["t/one"]
    again = Proxy(path, tmp_path)
    await eventually_async(
        lambda: again.last.answers.get((VHDS, "t/one")) is False, what="that it is gone"
    )
    assert again.last.routes["t"].virtual_hosts == ()
    await again.stop()


async def test_state_of_the_world_has_no_virtual_hosts_by_name(
    server: FakeDemand, tmp_path: Path
) -> None:
    """Envoy's rule."""
    proxy = Proxy(bootstrap_file(tmp_path, server.port, delta=False))
    await eventually_async(lambda: proxy.client.status().rejected, what="refused")
    (rejected,) = proxy.client.status().rejected
    assert rejected.why == "vhds: needs api_type DELTA_GRPC in ads_config"
    await proxy.stop()


async def test_a_restart_asks_for_the_listeners_that_connections_were_handed_to(
    server: FakeDemand, tmp_path: Path
) -> None:
    outbound = listener("virtualOutbound", "t", 15001)
    outbound.metadata.filter_metadata["weft.on_demand"].SetInParent()
    handed = listener("0.0.0.0_80", "t", 80)
    handed.bind_to_port.value = False
    server.put(LDS, "virtualOutbound", "1", outbound)
    server.put(LDS, "0.0.0.0_80", "1", handed)
    path = bootstrap_file(tmp_path, server.port)
    first = Proxy(path, tmp_path)
    await eventually_async(lambda: "0.0.0.0_80" in first.last.listeners, what="the listener")
    await eventually_async(lambda: (tmp_path / persist.FILE).exists(), what="it is kept")
    await first.stop()
    again = Proxy(path, tmp_path)
    await again.serves()
    await eventually_async(lambda: server.held[LDS] == {"*", "0.0.0.0_80"}, what="asked for")
    await again.stop()
