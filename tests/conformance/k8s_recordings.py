"""k8s-api-recordings: what a real kube-apiserver 1.36 said, served again, as our client reads it.

Each exchange is asked for over HTTP and passes if its status, reason, events and their order are
what was recorded, and if the rooms of controlplane.sources.kubernetes make of it what they must:
the kinds of a discovery, an object in the inventory, the rule that a 403 lacks, a list to do again.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.registry import KINDS
from controlplane.sources.kubernetes.answers import (
    ApiError,
    Event,
    Resource,
    error_of,
    place_of,
    version_of,
)
from controlplane.sources.kubernetes.client import Client
from controlplane.sources.kubernetes.discovery import aggregated, resources, streams_lists
from controlplane.sources.kubernetes.health import Failure, State, message_of, statuses, trouble_of
from controlplane.sources.kubernetes.intake import Intake, origin_of
from controlplane.sources.kubernetes.replica import Replica
from controlplane.sources.kubernetes.wanted import Followed, Plan, plan
from tests.conformance.suite import Result
from tests.support.kube_replay import Exchange, Replay, exchanges
from tests.support.kube_server import serving


class _Token:
    """An Access with one token, for one exchange."""

    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    proxy: str | None = None

    def __init__(self, server: str, token: str | None) -> None:
        self.server = server
        self._token = token

    async def load(self) -> None:
        """There is nothing to load."""

    async def authorization(self) -> str:
        return f"Bearer {self._token}" if self._token else ""

    async def renew(self, *, distrusted: bool) -> bool:
        return False


def run(cases: Path) -> Iterator[Result]:
    yield from asyncio.run(_judge(exchanges(cases)))


async def _judge(recorded: list[Exchange]) -> list[Result]:
    replay = Replay(recorded)
    results = []
    async with serving(replay.handle) as url:
        for one in recorded:
            try:
                reason = await _exchange(url, one)
            except (AssertionError, aiohttp.ClientError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
            results.append(Result(one.name, reason))
    assert not replay.unknown, replay.unknown
    return results


async def _exchange(url: str, one: Exchange) -> str:
    if one.is_watch:
        return await _watch(url, one)
    if one.request["method"] != "GET" or not _is_json(one):
        reason = await _plainly(url, one)
        return reason or _object(one)
    error: ApiError | None = None
    async with Client(_Token(url, one.request["token"])) as client:
        try:
            accept = one.request["accept"]
            found = await client.get(one.request["path"], None, accept)
        except ApiError as raised:
            error = raised
        if error is None and found != one.response["body"]:
            return "another body"
        if one.name == "version" and not await streams_lists(client):
            return "1.36 has streaming lists"
    return _refused(one, error) or _discovered(one) or _object(one)


async def _plainly(url: str, one: Exchange) -> str:
    """As any HTTP client; status, reason and message, and what an error of it is for us."""
    asked, said = one.request, one.response
    body = asked["body"]
    data = body if isinstance(body, str) or body is None else json.dumps(body)
    headers = {"accept": asked["accept"]}
    if asked["contentType"]:
        headers["content-type"] = asked["contentType"]
    if asked["token"]:
        headers["authorization"] = f"Bearer {asked['token']}"
    where = URL(url + asked["path"], encoded=True)
    async with (
        aiohttp.ClientSession() as session,
        session.request(asked["method"], where, data=data, headers=headers) as response,
    ):
        text = await response.text()
        if response.status != said["status"]:
            return f"status {response.status}, recorded {said['status']}"
        found: Any = json.loads(text) if isinstance(said["body"], dict) else text
        if found != said["body"]:
            return "another body"
    error = None if said["status"] < 400 else error_of(response.status, found)
    return _refused(one, error)


async def _watch(url: str, one: Exchange) -> str:
    """The events in their order, and the state that they leave against the recorded objects."""
    expected = [_event(Event(said["type"], said["object"])) for said in one.events]
    found: list[tuple[str, ...]] = []
    replica = Replica()
    replica.list_begins()
    replica.list_ends("1")
    async with Client(_Token(url, one.request["token"])) as client:
        try:
            watch = client.watch(one.request["path"], {})
            async with aclosing(watch) as events:
                async for event in events:
                    found.append(_event(event))
                    replica.happened(event)
        except ApiError as error:
            found.append(("ERROR", str(error.status), error.reason, error.message))
            if not error.expired:
                return "410 Gone does not make it list again"
    if found != expected:
        return f"events {found}, recorded {expected}"
    return _left(one, replica)


def _left(one: Exchange, replica: Replica) -> str:
    truth: dict[tuple[str, str], str] = {}
    for said in one.events:
        if said["type"] in ("ADDED", "MODIFIED"):
            truth[place_of(said["object"])] = version_of(said["object"])
        elif said["type"] == "DELETED":
            truth.pop(place_of(said["object"]), None)
    if set(replica.names) != set(truth):
        return f"{sorted(replica.names)} is left, recorded {sorted(truth)}"
    return _taken([said["object"] for said in one.events if said["type"] in ("ADDED", "MODIFIED")])


def _event(event: Event) -> tuple[str, ...]:
    if event.type == "ERROR":
        said = event.object
        return ("ERROR", str(said["code"]), said["reason"], said["message"])
    initial = "initial events end" if event.ends_initial else ""
    return (event.type, *place_of(event.object), version_of(event.object), initial)


# --------------------------------------------------------------------------- what is made of it


def _is_json(one: Exchange) -> bool:
    return isinstance(one.response["body"], dict) or one.response["status"] >= 400


def _refused(one: Exchange, error: ApiError | None) -> str:
    """The status, its reason and message, and what a user is told of 401 and 403."""
    said, status = one.response["body"], one.response["status"]
    if error is None:
        return "" if status < 400 else f"no error, recorded {status}"
    if error.status != status:
        return f"status {error.status}, recorded {status}"
    if isinstance(said, dict):
        causes = (said.get("details") or {}).get("causes") or [{}]
        reasons = {said.get("reason", ""), causes[0].get("reason", "")}
        if error.reason not in reasons or error.message != said["message"][:500]:
            return f"{error.reason}: {error.message}, recorded {said}"
    if error.expired != (status in (410, 504)):
        return "410 Gone, or a version that is too large, is what makes it list again"
    return _told(error) if status in (401, 403) else ""


def _told(error: ApiError) -> str:
    services = Followed(Resource("", "v1", "services", "Service", True))
    failure = Failure(trouble_of(error), message_of(error), "now")
    (status,) = statuses(State("https://x", Plan(), refused=((services, failure),)))
    hint = "credentials" if error.status == 401 else 'apiGroups: [""], resources: [services], verbs'
    return "" if hint in status.message else f"the user is told {status.message}"


def _discovered(one: Exchange) -> str:
    body = one.response["body"]
    if not isinstance(body, dict):
        return ""
    if body.get("kind") == "APIGroupDiscoveryList":
        found = plan(aggregated(body)).followed
        wanted = {"VirtualService", "AuthorizationPolicy", "EndpointSlice"}
        return "" if wanted <= {each.kind for each in found} else f"only {found} is followed"
    if body.get("kind") != "APIResourceList":
        return ""
    group = body["groupVersion"]
    found_here = {each.kind for each in resources(body)}
    known = {kind for version, kind in KINDS if version == group}
    listed = {each["kind"] for each in body["resources"] if "/" not in each["name"]}
    return "" if known & listed <= found_here else f"{group}: only {found_here}"


def _object(one: Exchange) -> str:
    """An object, or those of a list, in the inventory, if we know the kind."""
    body = one.response["body"]
    if not isinstance(body, dict) or one.response["status"] >= 400:
        return ""
    kind = str(body.get("kind") or "")
    if "items" in body and kind.endswith("List"):
        head = {"kind": kind.removesuffix("List"), "apiVersion": body["apiVersion"]}
        return _taken([{**item, **head} for item in body["items"] or ()])
    return _taken([body]) if "name" in (body.get("metadata") or {}) else ""


def _taken(documents: list[dict[str, Any]]) -> str:
    inventory = Inventory()
    intake = Intake(inventory)
    for document in documents:
        group, _, version = document["apiVersion"].rpartition("/")
        if (document["apiVersion"], document["kind"]) not in KINDS:
            continue
        resource = Resource(group, version, "things", document["kind"], True)
        name = place_of(document)
        intake.take(resource, name, document)
        if reason := _wrong(inventory, origin_of(resource, name)):
            return reason
    return ""


def _wrong(inventory: Inventory, origin: Origin) -> str:
    errors = [one for one in inventory.statuses_of(origin) if one.severity == "error"]
    if errors:
        return f"a real object is refused: {errors[0]}"
    (made,) = inventory.objects_of(origin)
    return "an API object has no lines" if made.position.line else ""
