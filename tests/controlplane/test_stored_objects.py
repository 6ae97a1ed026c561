"""Objects of the management API: applied, tried, found with where they come from, rolled out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from certs.spiffe import SpiffeId
from controlplane.inventory import Inventory
from controlplane.kinds.nouns import UnknownWord, kinds_of
from controlplane.mesh.model import Mesh, Status
from controlplane.objects import Application, Objects, Outcome, Query, Rooms, Stored, Text
from controlplane.resources import EMPTY
from controlplane.rollout import Progress, Rollout
from controlplane.sources.files import FileSource
from controlplane.sources.memory import MemorySource
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.sqlite import SqliteStore
from controlplane.status import StatusRegistry
from controlplane.translate import build
from controlplane.xds.delta import DeltaStream
from controlplane.xds.service import Connection
from tests.support.mesh import node
from tests.support.xds import delta, snapshot

TILL = """\
apiVersion: v1
kind: Service
metadata: {name: till, labels: {tier: front}}
spec: {selector: {app: till}, ports: [{port: 80, name: http}]}
"""
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: till}
spec: {hosts: [till], http: [{route: [{destination: {host: till}}]}]}
"""
LOST = ROUTE.replace("{host: till}", "{host: tall}")
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {a: b}
"""
GATEWAYS = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
POLICY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: till}
spec: {action: DENY, rules: [{}]}
"""


class Held:
    """A folder with the Service, and what a control plane holds; proxies: those connected."""

    def __init__(self, tmp_path: Path, *proxies: Connection) -> None:
        self.file = tmp_path / "mesh" / "till.yaml"
        self.file.parent.mkdir()
        self.file.write_text(TILL)
        self.inventory = Inventory()
        FileSource(self.file.parent, self.inventory, lambda: None).load()
        memory = MemorySource(self.inventory, lambda: None)
        self.store = SqliteStore(tmp_path / "store.sqlite3")
        mirror = Mirror(self.store, memory)
        self.registry = StatusRegistry(lambda: proxies)
        rooms = Rooms(self.settled, self.statuses, self.registry)
        self.objects = Objects(self.inventory, memory, mirror, rooms, "td", lambda: 100.0)

    async def settled(self) -> None:
        return

    def statuses(self) -> tuple[Status, ...]:
        return build(self.inventory.snapshot(), "td")[1]

    async def apply(
        self, *texts: str, dry_run: bool = False, wait_s: float | None = None
    ) -> Outcome:
        sources = ("api", "more")
        named = tuple(Text(one, name) for one, name in zip(texts, sources, strict=False))
        return await self.objects.apply(Application(named, dry_run, wait_s))

    async def delete(self, kind: str, name: str) -> bool:
        return (await self.objects.delete(kind, "default", name)).existed

    async def keys(self, kind: str = "", namespace: str = "", name: str = "") -> list[str]:
        return [str(one.key) for one in await self.objects.find(Query(kind, namespace, name))]


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Held]:
    held = Held(tmp_path)
    await held.store.open()
    yield held
    await held.store.close()


def changes(outcome: Outcome) -> list[str]:
    return [change for _, change in outcome.changes]


async def test_what_becomes_of_each_object_is_told(held: Held) -> None:
    assert changes(await held.apply(ROUTE)) == ["created"]
    assert changes(await held.apply(ROUTE)) == ["unchanged"]
    assert changes(await held.apply(LOST)) == ["configured"]


async def test_a_dry_run_says_the_same_and_changes_nothing(held: Held) -> None:
    tried = await held.apply(LOST, dry_run=True)
    assert await held.keys(kind="vs") == []
    assert [one.code for one in tried.statuses] == ["UnknownService"]
    done = await held.apply(LOST)
    assert (done.statuses, done.changes) == (tried.statuses, tried.changes)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_a_file_has_is_not_taken(held: Held, dry_run: bool) -> None:
    found = await held.apply(f"{ROUTE}---\n{TILL}", dry_run=dry_run)
    assert [one.code for one in found.statuses] == ["Duplicate"]
    assert found.changes == ()
    assert await held.keys(kind="vs") == []


async def test_of_several_texts_all_or_nothing(held: Held) -> None:
    other = ROUTE.replace("name: till", "name: other")
    refused = await held.apply(ROUTE, f"{other}---\n{TILL}")
    assert (refused.changes, await held.keys(kind="vs")) == ((), [])
    (twice,) = (await held.apply(ROUTE, f"# again\n{ROUTE}")).statuses
    assert (twice.code, str(twice.position)) == ("Duplicate", "more:2:1")
    done = await held.apply(ROUTE, other.replace("host: till", "host: tall"))
    assert changes(done) == ["created", "created"]
    assert [str(one.position) for one in done.statuses] == ["more:4:16", "more:4:60"]


async def test_a_policy_is_not_transient(held: Held) -> None:
    (told,) = (
        await held.objects.apply(Application((Text(POLICY, "api"),), transient=True))
    ).statuses
    assert (told.severity, told.code) == ("error", "Transient")
    assert await held.keys(kind="authorizationpolicy") == []


async def test_watching_tells_what_is_there_and_then_what_becomes_of_it(held: Held) -> None:
    watch = held.objects.watch(Query("vs"))
    assert await anext(watch) == ("synced", None)
    await held.apply(ROUTE)
    assert await told(held, watch) == ("added", "VirtualService default/till")
    await held.apply(LOST)
    assert await told(held, watch) == ("modified", "VirtualService default/till")
    await held.delete("vs", "till")
    assert await told(held, watch) == ("deleted", "VirtualService default/till")
    late = held.objects.watch(Query("svc"))
    assert [(await anext(late))[0] for _ in range(2)] == ["added", "synced"]


async def test_a_file_that_is_written_anew_is_read_anew(held: Held) -> None:
    watch = held.objects.watch(Query("svc", manifests=True))
    first = await anext(watch)
    assert first[1] is not None and "front" in first[1].manifest
    assert await anext(watch) == ("synced", None)
    held.file.write_text(TILL.replace("front", "back") + "\n")
    held.registry.configured("", Mesh("td"), (), 0.0)
    type_, stored = await asyncio.wait_for(anext(watch), 30)
    assert type_ == "modified" and stored is not None and "back" in stored.manifest


async def told(held: Held, watch: AsyncIterator[tuple[str, Stored | None]]) -> tuple[str, str]:
    """The next one, of a registry that hears of changes."""
    held.registry.configured("", Mesh("td"), (), 0.0)
    type_, one = await asyncio.wait_for(anext(watch), 30)
    assert one is not None
    return type_, str(one.key)


async def test_an_object_is_found_with_its_source_text_and_statuses(held: Held) -> None:
    await held.apply(LOST)
    route, service = sorted(
        await held.objects.find(Query(name="till", manifests=True)),
        key=lambda one: one.key.kind,
        reverse=True,
    )
    assert (service.source, service.position) == ("file", f"{held.file}:1:1")
    assert (route.source, route.position) == ("api", "api:1:1")
    assert "{host: tall}" in route.manifest
    assert '"front"' in service.manifest
    assert [one.code for one in route.statuses] == ["UnknownService"]
    assert service.statuses == ()


async def test_queries_take_by_namespace_name_and_labels(held: Held) -> None:
    await held.apply(TILL.replace("till,", "till, namespace: other,").replace("front", "back"))
    assert await held.keys() == ["Service default/till", "Service other/till"]
    assert await held.keys(namespace="other") == ["Service other/till"]
    assert await held.keys(name="nobody") == []
    found = await held.objects.find(Query(labels={"tier": "front"}))
    assert [str(one.key) for one in found] == ["Service default/till"]


async def test_a_secret_shows_no_text(held: Held) -> None:
    await held.apply(SECRET)
    (found,) = await held.objects.find(Query("secret", manifests=True))
    assert (found.key.name, found.manifest) == ("hidden", "")


async def test_two_gateways_of_one_name_keep_apart(held: Held) -> None:
    await held.apply(GATEWAYS)
    both = await held.objects.find(Query("gateway", manifests=True))
    assert {one.key.kind: "gatewayClassName" in one.manifest for one in both} == {
        "Gateway": False,
        "Gateway.gateway.networking.k8s.io": True,
    }
    assert await held.delete("Gateway", "edge")
    assert await held.keys(kind="gw") == ["Gateway.gateway.networking.k8s.io default/edge"]
    assert await held.delete("gateways", "edge")
    assert await held.keys(kind="gw") == []


async def test_what_a_file_has_is_not_deleted(held: Held) -> None:
    assert not await held.delete("svc", "till")
    assert await held.keys(kind="svc") == ["Service default/till"]


@pytest.mark.parametrize(
    ("word", "kinds"),
    [
        ("vs", {"VirtualService"}),
        ("virtualservices", {"VirtualService"}),
        ("VirtualService.networking.istio.io", {"VirtualService"}),
        ("ingresses", {"Ingress"}),
        ("authorizationpolicies", {"AuthorizationPolicy"}),
        ("gateway", {"Gateway", "Gateway.gateway.networking.k8s.io"}),
        ("gateways.networking.istio.io", {"Gateway"}),
        ("Gateway.gateway.networking.k8s.io", {"Gateway.gateway.networking.k8s.io"}),
        ("endpoints", {"Endpoints"}),
    ],
)
def test_kinds_are_named_as_people_do(word: str, kinds: set[str]) -> None:
    assert kinds_of(word) == kinds


def test_a_word_that_is_no_kind_says_what_is_near() -> None:
    with pytest.raises(
        UnknownWord, match="no kind is called 'virtualservise'; did you mean 'virtualservice'"
    ):
        kinds_of("virtualservise")


# --------------------------------------------------------------------------- rollout


def proxy(machine: DeltaStream, pushed_at: float = 0.0) -> Connection:
    one = Connection(node(), SpiffeId.workload("td", "default", "a"), "delta", 1.0, machine)
    one.last_push_at = pushed_at
    return one


def test_only_proxies_that_were_sent_something_are_concerned() -> None:
    machine = DeltaStream(snapshot(CDS={"a": "1"}))
    (push,) = machine.feed(delta("CDS")).pushes
    sent, other = proxy(machine, 101.0), proxy(DeltaStream(EMPTY), 99.0)
    rollout = Rollout((sent, other), 100.0)
    assert rollout.progress() == Progress(1, 0, (), over=False)
    machine.feed(delta("CDS", nonce=push.nonce))
    assert rollout.progress() == Progress(1, 1, (), over=True)
    other.due = True  # it has yet to be looked at
    assert not rollout.progress().over
    other.open = False
    assert rollout.progress().over


def test_a_refusal_is_told_and_not_waited_for() -> None:
    machine = DeltaStream(snapshot(LDS={"in": "1"}))
    (push,) = machine.feed(delta("LDS")).pushes
    rollout = Rollout((proxy(machine, 101.0),), 100.0)
    machine.feed(delta("LDS", nonce=push.nonce, error="bad filter"))
    assert rollout.progress() == Progress(1, 0, ((node().id, "in: bad filter"),), over=True)


async def test_apply_waits_for_proxies_no_longer_than_it_is_told(tmp_path: Path) -> None:
    machine = DeltaStream(snapshot(CDS={"a": "1"}))
    (push,) = machine.feed(delta("CDS")).pushes
    held = Held(tmp_path, proxy(machine, 101.0))
    await held.store.open()
    late = await held.apply(ROUTE, wait_s=0.01)
    assert late.rollout == Progress(1, 0, (), over=False)
    machine.feed(delta("CDS", nonce=push.nonce))
    done = await held.apply(LOST, wait_s=60.0)
    assert done.rollout == Progress(1, 1, (), over=True)
    gone = await held.objects.delete("vs", "default", "till", wait_s=60.0)
    assert (gone.existed, gone.rollout) == (True, Progress(1, 1, (), over=True))
    await held.store.close()
