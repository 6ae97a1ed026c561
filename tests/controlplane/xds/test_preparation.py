"""What the first of many will share is made between others' turns, once for all who wait for it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any

import pytest

from controlplane.emit import envoy, routes
from controlplane.emit.node import Node
from controlplane.emit.sidecars import outbound, tables
from controlplane.mesh.model import Mesh, Service
from controlplane.mesh.networks import NetworkGateway
from controlplane.tasks import spawn
from controlplane.xds import service as ads_module
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import AdsService
from tests.support.mesh import endpoint, mesh, node, service
from tests.support.wait import eventually_async

AWAY = NetworkGateway("two", "192.0.2.1", 15443)
SERVICES = 5


def services(**facts: Any) -> Mesh:
    names = (f"s{number}" for number in range(SERVICES))
    return mesh(*(service(name, endpoint(9101), **facts) for name in names))


def some(namespace: str = "default", **facts: Any) -> Node:
    return node("w", "w", namespace=namespace, on_demand=True, **facts)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often something was made, by what."""
    made: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        real = getattr(module, name)

        def counted(*of: Any) -> Any:
            made[name] += 1
            return real(*of)

        monkeypatch.setattr(module, name, counted)

    for module, name in (
        (envoy, "of_services"),
        (routes, "proxied"),
        (outbound, "claims"),
        (tables, "virtual_host"),
    ):
        count(module, name)
    return made


def slices(cache: SnapshotCache, of: Node) -> int:
    found = cache.preparation(of)
    return sum(1 for _ in found[1]) if found is not None else 0


@pytest.mark.parametrize(
    "one",
    [some(), some("shop"), some(interception="REDIRECT"), some("shop", network="one")],
    ids=["near", "far", "intercepting", "network"],
)
@pytest.mark.parametrize("apart", [False, True])
def test_nothing_of_a_service_is_left_for_the_first_answer(
    one: Node, apart: bool, work: Counter[str]
) -> None:
    of = services(gateways=(AWAY,)) if apart else services()
    cache = SnapshotCache(of, lambda _: ())
    before = work.total()
    assert slices(cache, one) >= SERVICES
    after = work.total()
    assert after >= before + SERVICES
    version = cache.snapshot(one).version
    assert work.total() == after
    assert cache.preparation(one) is None
    assert version == SnapshotCache(of, lambda _: ()).snapshot(one).version


def test_clients_who_see_the_same_of_other_networks_share_it(work: Counter[str]) -> None:
    cache = SnapshotCache(services(gateways=(AWAY,)), lambda _: ())
    for namespace in ("one", "two", "three"):
        assert cache.snapshot(some(namespace, network="n")).version
    assert work["of_services"] == SERVICES
    cache.snapshot(some("one", network="two"))
    assert work["of_services"] == 2 * SERVICES


def test_a_mesh_that_comes_meanwhile_is_the_one_that_counts() -> None:
    one = some(interception="REDIRECT", network="n")
    cache = SnapshotCache(services(gateways=(AWAY,)), lambda _: ())
    found = cache.preparation(one)
    assert found is not None
    next(found[1])
    now = mesh(service("s1", endpoint(9200), gateways=(AWAY,)), service("new", endpoint(1)))
    cache.set_mesh(now)
    deque(found[1], 0)
    assert cache.snapshot(one).version == SnapshotCache(now, lambda _: ()).snapshot(one).version


async def admitted(_: Any) -> Proof:
    return Proof()


async def test_others_have_their_turns_and_many_wait_for_one(
    monkeypatch: pytest.MonkeyPatch, work: Counter[str]
) -> None:
    monkeypatch.setattr(ads_module, "SLICE_S", 0.0)
    cache = SnapshotCache(services(), lambda _: ())
    ads = AdsService(admitted, cache, (), lambda: 0.0)
    turns, over = 0, asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while not over.is_set():
            turns += 1
            await asyncio.sleep(0)

    counting = spawn(count(), "count")
    left = spawn(ads._prepare(some()), "left")
    await asyncio.sleep(0)
    left.cancel()  # who goes away takes nothing from the others
    await asyncio.gather(*(ads._prepare(some()) for _ in range(3)), ads._prepare(some("shop")))
    over.set()
    await counting
    assert turns > 2 * SERVICES
    assert work["proxied"] == SERVICES
    assert not ads._preparing


async def test_what_nobody_waits_for_any_more_is_not_made(work: Counter[str]) -> None:
    cache = SnapshotCache(services(), lambda _: ())
    ads, before = AdsService(admitted, cache, (), lambda: 0.0), work.total()
    async with ads._one_by_one:
        waiting = spawn(ads._prepare(some()), "left")
        await eventually_async(lambda: ads._preparing, 60.0, "it is queued")
        (made,) = ads._preparing.values()
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert not ads._preparing
    await asyncio.wait((made.task,))
    assert work.total() == before
    await ads._prepare(some())
    assert work["proxied"] == SERVICES


async def test_what_can_not_be_made_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SnapshotCache(services(), lambda _: ())

    def broken(service: Service) -> Any:
        raise RuntimeError("our own mistake")

    monkeypatch.setattr(routes, "tcp_ports", broken)
    await AdsService(admitted, cache, (), lambda: 0.0)._prepare(some())
    assert "our own mistake" in caplog.text
