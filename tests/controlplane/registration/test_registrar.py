"""A proxy that names a WorkloadGroup is a workload of the mesh while it is connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode

from certs.spiffe import SpiffeId
from controlplane.emit.node import BadNode, Node, parse
from controlplane.inventory import Inventory, Origin
from controlplane.kinds import parse as kinds
from controlplane.kinds.service_entry import WorkloadEntry
from controlplane.kinds.workload_group import WorkloadGroup
from controlplane.mesh.model import Mesh
from controlplane.registration.entry import manifest, why_not
from controlplane.registration.registrar import GRACE_S, Registrar
from controlplane.sources.memory import MemorySource
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.record import records_of
from controlplane.sources.store.sqlite import SqliteStore
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import Connection
from controlplane.xds.sotw import SotwStream

GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: cart, namespace: shop}
spec:
  metadata: {labels: {version: v2}, annotations: {team: till}}
  template: {serviceAccount: cart, labels: {app: cart}, ports: {http: 8080}, network: vms}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
CART = SpiffeId.workload("cluster.local", "shop", "cart")
MESH = SnapshotCache(Mesh("cluster.local"), lambda node: ())


def node(address: str = "10.9.0.1", group: str = "cart", **labels: str) -> Node:
    asked = EnvoyNode(id=f"sidecar~{address}~vm.shop~shop.svc.cluster.local")
    asked.locality.region, asked.locality.zone = "eu", "eu-1"
    words = {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "cart", "AUTO_REGISTER_GROUP": group}
    asked.metadata.update({**words, "LABELS": labels, "WORKLOAD_NAME": "cart"})
    return parse(asked)


def connection(of: Node, identity: SpiffeId = CART) -> Connection:
    return Connection(of, identity, "sotw", 0.0, SotwStream(MESH.snapshot(of)))


class Town:
    """One control plane on a store."""

    def __init__(self, path: Path, mark: str = "us") -> None:
        self.inventory = Inventory()
        self.memory = MemorySource(self.inventory, lambda: None)
        self.store = SqliteStore(path)
        self.mirror = Mirror(self.store, self.memory)
        self.waited: list[float] = []
        self.grace = asyncio.Event()
        self.registrar = Registrar(
            lambda: self.mirror, self.inventory.find, self.memory.say, mark, self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        await self.grace.wait()

    def put(self, text: str) -> None:
        objects = kinds.parse(text, "m.yaml").objects
        self.inventory.replace(Origin.file(objects[0].name + objects[0].kind()), objects)

    def came(self, one: Connection) -> None:
        self.registrar.changed(one)

    def left(self, one: Connection) -> None:
        one.open = False
        self.registrar.changed(one)

    @property
    def entries(self) -> dict[str, WorkloadEntry]:
        return {one.name: one for one in self.inventory.snapshot().of(WorkloadEntry)}

    @property
    def codes(self) -> list[tuple[str, str]]:
        said = self.inventory.snapshot().statuses
        return [(one.code, one.object) for one in said]

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110 -- a store tells in its own time
                await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(path: Path, *texts: str, mark: str = "us") -> AsyncIterator[Town]:
    town = Town(path, mark)
    await town.store.open()
    for text in texts:
        town.put(text)
    try:
        yield town
    finally:
        await town.store.close()


async def test_a_proxy_is_registered_while_it_is_connected(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", GROUP, SERVICE) as town:
        one = connection(node(app="payment"))
        town.came(one)
        await town.until(lambda: town.entries)
        mesh, statuses = build(town.inventory.snapshot(), "cluster.local")
        (endpoint,) = mesh.services[0].endpoints
        assert (endpoint.address, endpoint.ports) == ("10.9.0.1", {80: 8080})
        assert endpoint.mesh and endpoint.identity.endswith("/ns/shop/sa/cart")
        assert endpoint.locality == ("eu", "eu-1", "")
        assert endpoint.labels["app"] == "cart", "its own labels don't count"
        workload = mesh.workload_of("shop", "vm", one.node.workload)
        assert workload is not None and workload.name == "cart-10.9.0.1"
        assert not [said for said in statuses if said.severity == "error"]
        town.left(one)
        await town.until(lambda: town.waited == [GRACE_S])
        assert town.entries, "it may come back"
        town.grace.set()
        await town.until(lambda: not town.entries)


async def test_who_comes_back_in_time_stays(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", GROUP) as town:
        first, second = connection(node()), connection(node())
        town.came(first)
        await town.until(lambda: town.entries)
        town.left(first)
        town.came(second)
        town.grace.set()
        await asyncio.sleep(0)
        assert town.entries
        town.left(second)
        await town.until(lambda: not town.entries)


async def test_an_entry_with_anothers_mark_is_not_ours_to_delete(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", GROUP) as town:
        one = connection(node())
        town.came(one)
        await town.until(lambda: town.entries)
        theirs = Registrar(lambda: town.mirror, town.inventory.find, town.memory.say, "them")
        other = connection(node())
        theirs.changed(other)
        mark = "weft.dev/registered-by"
        await town.until(lambda: town.entries["cart-10.9.0.1"].metadata.annotations[mark] == "them")
        town.left(one)
        town.grace.set()
        await town.until(lambda: town.waited == [GRACE_S])
        await asyncio.sleep(0.02)
        assert town.entries


async def test_an_entry_that_somebody_has_written_stays_his(tmp_path: Path) -> None:
    """Whoever claims its address must not take out the endpoint of another service account."""
    written = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-10.9.0.1, namespace: shop}
spec: {address: 10.9.0.1, labels: {app: bank}, serviceAccount: bank}
"""
    async with opened(tmp_path / "s.db", GROUP) as town:
        objects = kinds.parse(written, "w.yaml").objects
        await town.mirror.apply(tuple(records_of(written, "w.yaml", transient=False)), objects)
        one = connection(node())
        town.came(one)
        assert town.codes == [("NotRegistered", "WorkloadGroup shop/cart")]
        await asyncio.sleep(0)
        assert town.entries["cart-10.9.0.1"].spec.service_account == "bank"
        await town.mirror.delete({objects[0].key})
        town.came(one)
        await town.until(lambda: town.entries)
        assert town.entries["cart-10.9.0.1"].spec.service_account == "cart"


async def test_a_group_that_comes_later_or_changes_counts(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as town:
        one = connection(node())
        town.came(one)
        assert town.codes == [("NotRegistered", "WorkloadEntry shop/cart-10.9.0.1")]
        town.put(GROUP)
        town.came(one)
        await town.until(lambda: town.entries)
        assert town.codes == []
        town.put(GROUP.replace("8080", "9090"))
        town.came(one)
        await town.until(lambda: town.entries["cart-10.9.0.1"].spec.ports == {"http": 9090})


PROBED = f"{GROUP}  probe: {{httpGet: {{path: /ready, port: 8080}}}}\n"


async def test_with_a_probe_an_agents_word_is_waited_for(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", PROBED, SERVICE) as town:

        def health() -> list[str]:
            mesh, _ = build(town.inventory.snapshot(), "cluster.local")
            return [one.health for service in mesh.services for one in service.endpoints]

        one = connection(node())
        town.came(one)
        await town.until(lambda: health() == ["UNHEALTHY"])
        one.healthy = True
        town.came(one)
        await town.until(lambda: health() == ["HEALTHY"])
        one.healthy = False
        town.came(one)
        await town.until(lambda: health() == ["UNHEALTHY"])


async def test_another_service_account_is_not_registered(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", GROUP) as town:
        thief = connection(node(), SpiffeId.workload("cluster.local", "shop", "thief"))
        town.came(thief)
        assert town.codes == [("NotRegistered", "WorkloadGroup shop/cart")]
        assert not town.entries
        town.left(thief)
        assert town.codes == []


def test_who_names_no_group_is_left_alone() -> None:
    plain = node(group="")
    assert (plain.group, plain.workload) == ("", "cart")
    registrar = Registrar(None, None, None, "us")  # type: ignore[arg-type]
    registrar.changed(connection(plain))


def test_without_an_address_nothing_can_be_registered() -> None:
    for asked in ("sidecar~vm", "sidecar~here~vm.shop~x"):
        made = EnvoyNode(id=asked)
        made.metadata.update({"AUTO_REGISTER_GROUP": "cart"})
        with pytest.raises(BadNode, match="has no address to register"):
            parse(made)


def test_an_entry_in_words() -> None:
    (group,) = kinds.parse(GROUP, "m.yaml").objects
    assert isinstance(group, WorkloadGroup)
    six = node("fd00::7")
    assert six.workload == "cart-fd00--7"
    parsed = kinds.parse(manifest(six, group, "us"), "registration")
    assert parsed.statuses == ()
    (made,) = parsed.objects
    assert isinstance(made, WorkloadEntry)
    assert (made.namespace, made.spec.address, made.spec.network) == ("shop", "fd00::7", "vms")
    assert made.metadata.annotations == {
        "team": "till",
        "istio.io/autoRegistrationGroup": "cart",
        "weft.dev/registered-by": "us",
    }
    assert made.metadata.labels["version"] == "v2"
    plain = replace(group, spec=replace(group.spec, template=type(group.spec.template)()))
    assert why_not(six, CART, plain).startswith("it is the service account 'cart'")
