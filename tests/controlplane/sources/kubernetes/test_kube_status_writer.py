"""Statuses are written by the leader, when they are news, beside what others say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.kinds.objects import ObjectKey
from controlplane.sources.kubernetes.answers import Resource
from controlplane.sources.kubernetes.client import Client
from controlplane.sources.kubernetes.edits import Ancestors, Fields, Parents
from controlplane.sources.kubernetes.status_writer import StatusWriter
from tests.support.kube_cluster import Document, Refused
from tests.support.kube_running import Ticket, put
from tests.support.kube_server import KubeServer, serving

KEY = ObjectKey("HTTPRoute", "default", "r")
ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", True)
US, THEM = "weft.dev/controller", "example.com/other"
GATEWAY = {"name": "gw"}


def accepted(status: str = "True", since: str = "") -> dict[str, Any]:
    made = {"type": "Accepted", "status": status, "reason": "Accepted", "observedGeneration": 1}
    return {**made, "lastTransitionTime": since} if since else made


def parents(*conditions: dict[str, Any]) -> Parents:
    return Parents((US,), ({"parentRef": GATEWAY, "conditions": list(conditions)},))


@dataclass
class Desk:
    server: KubeServer
    writer: StatusWriter
    term: int = 1
    told: list[tuple[str, str]] = field(default_factory=list)

    @property
    def status(self) -> Document:
        found: Document = self.server.cluster.objects("httproutes")[("default", "r")]
        return dict(found.get("status") or {})

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 -- a server's state
                await asyncio.sleep(0.005)


@asynccontextmanager
async def desk(server: KubeServer) -> AsyncIterator[Desk]:
    async def quickly(seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)

    async with serving(server.handle) as url, Client(Ticket(url)) as client:
        made: Desk
        writer = StatusWriter(
            client,
            lambda kind: ROUTES if kind == "HTTPRoute" else None,
            lambda: made.term,
            lambda: 1.0,
            lambda kind, why: made.told.append((kind, why)),
            quickly,
        )
        made = Desk(server, writer)
        task = asyncio.get_running_loop().create_task(writer.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def server() -> KubeServer:
    made = KubeServer()
    put(made, "httproutes", {"metadata": {"name": "r"}, "spec": {}})
    return made


async def test_written_once_and_again_when_it_is_news(server: KubeServer) -> None:
    async with desk(server) as one:
        one.writer.write_status(KEY, parents(accepted()))
        await one.until(lambda: one.status)
        (parent,) = one.status["parents"]
        assert parent["controllerName"] == US
        since = parent["conditions"][0]["lastTransitionTime"]
        assert since.endswith("Z")
        requests = len(server.requests)
        one.writer.write_status(KEY, parents(accepted()))
        one.writer.write_status(KEY, parents(accepted("False")))
        await one.until(lambda: one.status["parents"][0]["conditions"][0]["status"] == "False")
        assert one.writer.writes == 2
        assert len(server.requests) == requests + 2, "one GET and one PUT"


async def test_what_others_say_stays_also_when_they_write_meanwhile(server: KubeServer) -> None:
    cluster = server.cluster
    kind, key = cluster.named("httproutes"), ("default", "r")
    theirs = {"parentRef": GATEWAY, "controllerName": THEM, "conditions": [accepted(since="T")]}
    update, done = cluster.update, list[int]()

    def meanwhile(*arguments: Any) -> Document:
        if not done:
            done.append(1)
            document = {**cluster.get(kind, key), "status": {"parents": [theirs]}}
            update(kind, key, document, "status")
        return update(*arguments)

    cluster.update = meanwhile  # type: ignore[method-assign, assignment]
    async with desk(server) as one:
        one.writer.write_status(KEY, parents(accepted()))
        await one.until(lambda: one.writer.writes)
        assert [each["controllerName"] for each in one.status["parents"]] == [THEM, US]
        assert one.status["parents"][0] == theirs


async def test_only_the_leader_writes_and_a_new_one_says_it_all(server: KubeServer) -> None:
    async with desk(server) as one:
        one.term = 0
        one.writer.write_status(KEY, parents(accepted()))
        await asyncio.sleep(0.05)
        assert not server.requests
        one.term = 1
        one.writer.write_status(ObjectKey("Other", "default", "x"), Fields({}))
        await one.until(lambda: one.status)
        cluster = server.cluster
        kind, key = cluster.named("httproutes"), ("default", "r")
        cluster.update(kind, key, {**cluster.get(kind, key), "status": None}, "status")
        one.term = 2
        one.writer.write_status(KEY, parents(accepted("Unknown")))
        await one.until(lambda: one.status)
        assert one.writer.writes == 2


async def test_a_refusal_names_the_rule_and_is_tried_again(server: KubeServer) -> None:
    server.forbidden.add(("update", "httproutes"))
    async with desk(server) as one:
        one.writer.write_status(KEY, parents(accepted()))
        await one.until(lambda: one.told)
        kind, why = one.told[0]
        assert kind == "HTTPRoute"
        assert "resources: [httproutes, httproutes/status], verbs: [get, update]}" in why
        server.forbidden.clear()
        server.failures = [Refused(500, "InternalError", "etcd")]
        await one.until(lambda: one.status)
        await one.until(lambda: one.told[-1] == ("HTTPRoute", ""))


async def test_an_object_that_is_gone_is_forgotten(server: KubeServer) -> None:
    async with desk(server) as one:
        one.writer.write_status(KEY._replace(name="gone"), parents(accepted()))
        one.writer.write_status(KEY, parents(accepted()))
        await one.until(lambda: one.status)
        paths = [path for method, path in server.requests if path.endswith("/gone")]
        assert len(paths) == 1
        one.writer.forget(KEY)


async def test_a_status_that_is_none_of_the_kind_stops_no_others(server: KubeServer) -> None:
    put(server, "httproutes", {"metadata": {"name": "odd"}, "spec": {}, "status": {"parents": 5}})
    async with desk(server) as one:
        one.writer.write_status(KEY._replace(name="odd"), parents(accepted()))
        one.writer.write_status(KEY, parents(accepted()))
        await one.until(lambda: one.status)


# --------------------------------------------------------------------------- edits


def test_conditions_that_are_there_only_while_they_hold_go() -> None:
    """Of a Gateway, of its listeners, and of a route's parent; others stay."""
    passing = {"type": "OverlappingTLSConfig", "status": "True"}
    theirs = {"type": "Theirs", "status": "True"}
    there = [accepted(since="T0"), passing, theirs]
    wanted = {"conditions": [accepted()], "listeners": [{"name": "a", "conditions": [accepted()]}]}
    before = {"conditions": there, "listeners": [{"name": "a", "conditions": there}]}
    made = Fields(wanted)(before, "T1")
    assert made["conditions"] == made["listeners"][0]["conditions"] == [there[0], theirs]
    partly = {"type": "PartiallyInvalid", "status": "True"}
    entry = {"parentRef": GATEWAY, "controllerName": US, "conditions": [*there, partly]}
    (parent,) = parents(accepted())({"parents": [entry]}, "T1")["parents"]
    assert parent["conditions"] == [there[0], theirs]


def test_a_condition_keeps_its_time_while_its_status_is_the_same() -> None:
    before = {"conditions": [accepted(since="T0"), {"type": "Theirs", "status": "True"}]}
    same = Fields({"conditions": [{**accepted(), "message": "new"}]})(before, "T1")
    assert same["conditions"][0] == {**accepted(since="T0"), "message": "new"}
    assert same["conditions"][1] == {"type": "Theirs", "status": "True"}
    other = Fields({"conditions": [accepted("False")]})(before, "T1")
    assert other["conditions"][0]["lastTransitionTime"] == "T1"
    assert before["conditions"][0] == accepted(since="T0"), "what was read is not changed"


def test_conditions_of_listeners_are_kept_by_name() -> None:
    before = {
        "listeners": [{"name": "http", "attachedRoutes": 9, "conditions": [accepted("True", "T0")]}]
    }
    now = {"name": "http", "attachedRoutes": 1, "conditions": [accepted()]}
    more = {"name": "https", "conditions": [accepted()]}
    made = Fields({"listeners": [now, more]})(before, "T1")["listeners"]
    assert [one["conditions"][0]["lastTransitionTime"] for one in made] == ["T0", "T1"]
    assert made[0]["attachedRoutes"] == 1


def test_fields_that_are_not_ours_stay() -> None:
    before = {"loadBalancer": {"ingress": []}, "validationMessages": [1]}
    made = Fields({"validationMessages": []})(before, "T")
    assert made == {"loadBalancer": {"ingress": []}, "validationMessages": []}


def test_parents_that_are_not_ours_any_more_go() -> None:
    both = parents(accepted())({}, "T0")
    assert Parents((US,), ())(both, "T1") == {"parents": []}
    ancestors = Ancestors((US,), ({"ancestorRef": GATEWAY, "conditions": [accepted()]},))({}, "T0")
    assert Ancestors((US,), ())(ancestors, "T1") == {"ancestors": []}
    assert ancestors["ancestors"][0]["conditions"][0]["lastTransitionTime"] == "T0"


def test_an_edit_of_its_own_result_changes_nothing() -> None:
    edit = parents(accepted(), {"type": "ResolvedRefs", "status": "False"})
    first = edit({"parents": [{"controllerName": THEM}]}, "T0")
    assert edit(first, "T1") == first
