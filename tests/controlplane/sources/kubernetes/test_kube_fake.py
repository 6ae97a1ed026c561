"""The fake API server is as honest as it must be: to what it models of the requests that were once
recorded it gives a real one's status, reason, kind, names and events, in their order."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.support.cases import case_folder
from tests.support.kube_cluster import Cluster
from tests.support.kube_replay import Exchange, exchanges
from tests.support.kube_server import KubeServer, serving

_NAMES = """
api-versions unauthorized ns-create svc-create-0 svc-create-1 svc-create-2 svc-create-3
svc-create-4 svc-create-dup get-404 path-404 method-405 svc-list svc-list-limit-2 svc-list-continue
svc-list-rv0 svc-list-rv-notolder svc-list-future-rv svc-list-labelselector svc-list-fieldselector
svc-get svc-put svc-put-conflict svc-merge-patch svc-apply svc-delete vs-create vs-read-as-v1beta1
vs-read-as-v1alpha3 httproute-create httproute-status-mergepatch httproute-status-stale-put
httproute-status-apply pod-create-0 pod-status-0 node-create-node0 pod-delete watch-too-old-410
watch-services-from-rv watch-services-no-rv watch-services-rv0 watch-labelselector-leave
watchlist-sendInitialEvents watch-httproutes watch-virtualservices lease-create
list-continue-expired-410 list-exact-compacted-410
"""
MODELLED = _NAMES.split()


@dataclass
class Player:
    """Asks what was asked. Versions and tokens that were given then are those of the fake now."""

    cluster: Cluster
    session: aiohttp.ClientSession
    url: str
    words: dict[str, str] = field(default_factory=dict)
    watches: dict[str, asyncio.Task[list[dict[str, Any]]]] = field(default_factory=dict)

    async def ask(self, one: Exchange) -> tuple[int, Any]:
        asked = one.request
        path, body = asked["path"], asked["body"]
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        for then, now in self.words.items():
            path = path.replace(then, now)
            data = data and data.replace(f'"resourceVersion": "{then}"', now)
        headers = {"accept": asked["accept"], "authorization": f"Bearer {asked['token']}"}
        if asked["contentType"]:
            headers["content-type"] = asked["contentType"]
        where = URL(self.url + path, encoded=True)
        async with self.session.request(
            asked["method"], where, data=data, headers=headers
        ) as response:
            text = await response.text()
        if one.is_watch:
            return response.status, [json.loads(line) for line in text.splitlines()]
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    async def plays(self, one: Exchange) -> None:
        """The answer is of the same shape as that which was recorded."""
        status, found = await self.ask(one)
        assert (status, shape(found)) == (one.response["status"], shape(recorded(one))), one.name
        self.learns(one, found)

    def learns(self, one: Exchange, found: Any) -> None:
        then = one.response.get("body")
        if not isinstance(then, dict) or not isinstance(found, dict):
            return
        for name in ("resourceVersion", "continue"):
            old, new = (doc.get("metadata", {}).get(name) for doc in (then, found))
            if old and new and one.name in ("svc-list", "svc-list-limit-2"):
                word = f"resourceVersion={old}" if name == "resourceVersion" else str(old)
                self.words[word] = f"resourceVersion={new}" if name == "resourceVersion" else new
        if one.name in ("svc-get", "httproute-create"):
            old, new = (doc["metadata"]["resourceVersion"] for doc in (then, found))
            self.words[old] = f'"resourceVersion": "{new}"'


def recorded(one: Exchange) -> Any:
    return one.events if one.is_watch else one.response["body"]


def shape(found: Any) -> Any:
    """What must be the same: kinds, names and reasons, not versions, times and defaults."""
    if isinstance(found, list):
        return [(event["type"], shape(event["object"])) for event in found]
    if not isinstance(found, dict):
        return str(found).strip()
    said = found.get("metadata") or {}
    names = [item["metadata"]["name"] for item in found.get("items") or ()]
    notes = sorted(note for note in said.get("annotations") or () if note.startswith("k8s.io/"))
    head = [found.get(key) for key in ("kind", "apiVersion", "reason", "code")]
    return [*head, said.get("name"), names, bool(said.get("continue")), notes]


@pytest.fixture
def played() -> dict[str, Exchange]:
    return {one.name: one for one in exchanges(case_folder("k8s-api-recordings"))}


async def test_it_answers_as_a_real_one_did(played: dict[str, Exchange]) -> None:
    cluster = Cluster()
    watches = [name for name in MODELLED if played[name].is_watch and "too-old" not in name]
    late = ("watch-too-old-410", "list-continue-expired-410", "list-exact-compacted-410")
    async with serving(KubeServer(cluster).handle) as url, aiohttp.ClientSession() as session:
        player = Player(cluster, session, url)
        for name in [one for one in MODELLED if one not in (*watches, *late)]:
            if name == "svc-put":
                await _open(player, [played[one] for one in watches])
            if name == "svc-apply":
                _annotate(cluster, "web3")
            if name == "lease-create":
                await _close(player, [played[one] for one in watches])
            await player.plays(played[name])
        cluster.compact()
        for name in late:
            await player.plays(played[name])


async def _open(player: Player, watches: list[Exchange]) -> None:
    """They were recorded while the requests that follow changed things."""
    loop = asyncio.get_running_loop()
    for one in watches:
        player.watches[one.name] = loop.create_task(player.plays(one))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while len(player.cluster.watches) < len(watches):  # noqa: ASYNC110 -- a server's state
            await asyncio.sleep(0.01)


async def _close(player: Player, watches: list[Exchange]) -> None:
    player.cluster.bookmark()
    player.cluster.cut()
    for one in watches:
        await player.watches[one.name]


def _annotate(cluster: Cluster, name: str) -> None:
    """What svc-json-patch does, which is not modelled; watches tell of it."""
    kind, key = cluster.named("services"), ("rec", name)
    before = cluster.get(kind, key)
    metadata = {**before["metadata"], "annotations": {"x": "y"}}
    cluster.update(kind, key, {**before, "metadata": metadata})
