"""Every kind that Weft knows, from a Kubernetes API server, for as long as it runs.

    source = KubernetesSource(client, inventory, on_change, namespaces)
    task = spawn(source.run(), "kubernetes")
    await source.ready()         # everything was listed once: now there is something to serve

What is served is asked for again and again, so that a CustomResourceDefinition may come later. The
server being away, or refusing some kind, changes nothing of what is in force; it is a status, a
metric, and before everything was listed once the reason why nothing is served.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from controlplane.announce import announcements
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.registry import KINDS
from controlplane.mesh.model import Position, Status
from controlplane.sources.kubernetes.answers import ApiError, Resource
from controlplane.sources.kubernetes.backoff import Backoff
from controlplane.sources.kubernetes.client import UNREACHABLE, Client
from controlplane.sources.kubernetes.collection import Collection
from controlplane.sources.kubernetes.discovery import served, streams_lists
from controlplane.sources.kubernetes.health import Failure, State, Trouble, statuses
from controlplane.sources.kubernetes.intake import SOURCE, Intake, source_of
from controlplane.sources.kubernetes.reflector import Pace, Reflector
from controlplane.sources.kubernetes.replica import Change, Replica
from controlplane.sources.kubernetes.wanted import Followed, Plan, groups, plan
from controlplane.sources.last_good import LastGood
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane.kubernetes")

DISCOVER_EVERY_S = 15.0
KEEP_EVERY_S = 1.0
"""Policies are not written to the state directory more often."""


class KubernetesSource:
    def __init__(
        self,
        client: Client,
        inventory: Inventory,
        on_change: Callable[[], None],
        namespaces: Sequence[str] = (),
        say: Callable[[str], None] = lambda line: None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
        last_good: LastGood | None = None,
    ) -> None:
        """namespaces: only these, and what is of no namespace. say: tells the user a line while
        `on_change` is not called yet. clock: Unix seconds. last_good: where policies are kept over
        a restart."""
        self._say = say
        self._client = client
        self._inventory = inventory
        self._last_good = last_good or LastGood(None)
        self._intake = Intake(inventory, self._last_good)
        self._on_change = on_change
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self._pace = pace or Pace()
        self._clock = clock
        self._plan = Plan()
        self._discovery = Trouble(clock)
        self._discovered = False
        self._streaming: bool | None = None
        self._backoff = Backoff(self._pace.chance)
        self._ready = asyncio.Event()
        self._look = asyncio.Event()
        self._news = asyncio.Event()
        self.collections: dict[tuple[str, str, str], Collection] = {}
        self._kinds: dict[str, list[Collection]] = {}
        self.last_contact = 0.0
        self._outage: Failure | None = None
        self._remarks: dict[str, Status] = {}

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    async def ready(self) -> None:
        """Waits until everything was listed once."""
        await self._ready.wait()

    async def run(self) -> None:
        """Until cancelled; then nothing is followed any more, and all stays as it is."""
        self._last_good.load()
        keeping = spawn(self._keep(), "last good policies")
        try:
            while True:
                await self._discover()
                self._look.clear()
                wait_s = DISCOVER_EVERY_S
                if self._discovery.failures:
                    wait_s = self._backoff.next_s()
                await self._pause(wait_s * (1 + self._pace.chance() / 2))
        finally:
            keeping.cancel()
            for collection in self.collections.values():
                collection.stop()

    async def _keep(self) -> NoReturn:
        """Of what was deleted before the start nothing is kept."""
        await self.ready()
        every = self.collections.values()
        self._last_good.only(
            (source_of(one.followed.resource, name) for one in every for name in one.replica.names),
            (),
        )
        while True:
            if self._last_good.changed:
                await asyncio.to_thread(self._last_good.write)
            await self._pace.sleep(KEEP_EVERY_S)
            await self._news.wait()
            self._news.clear()

    async def _pause(self, seconds: float) -> None:
        """Or until somebody says `look`."""
        tasks = [spawn(self._slept(seconds), "pause"), spawn(self._look.wait(), "look")]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _slept(self, seconds: float) -> None:
        await self._pace.sleep(seconds)

    # ------------------------------------------------------------------ what there is

    async def _discover(self) -> None:
        try:
            if self._streaming is None:
                self._streaming = await streams_lists(self._client)
            found = plan(await served(self._client, groups()))
            await self._adopt(found)
        except (ApiError, *UNREACHABLE) as error:
            self._discovery.failed(error)
        except Exception as error:  # an answer that is none: all others go on
            log.exception("discovery")
            self._discovery.failed(error)
        else:
            self._discovered = True
            self._discovery.succeeded()
            self._backoff.reset()
            self.last_contact = self._clock()
        self.told()

    async def _adopt(self, found: Plan) -> None:
        """Follows what is new; stops following what the server says is not there."""
        self._plan = found
        wanted = {_identity(one): one for one in self._selected(found.followed)}
        for identity, followed in wanted.items():
            known = self.collections.get(identity)
            if known is not None and known.followed != followed:
                known.stop()
                known.replica.anew()
            if known is None or known.followed != followed:
                replica = None if known is None else known.replica
                self.collections[identity] = self._follow(followed, replica)
        for identity in self.collections.keys() - wanted.keys():
            if await self._is_gone(self.collections[identity]):
                collection = self.collections.pop(identity)
                collection.stop()
                await collection.changed([Change(name, None) for name in collection.replica.names])
        self._index()

    def _selected(self, found: Iterable[Followed]) -> Iterable[Followed]:
        for one in found:
            of_namespaces = one.resource.kind == "Namespace" and not one.resource.group
            if self._namespaces and of_namespaces:
                for name in self._namespaces:
                    yield Followed(one.resource, f"metadata.name={name}")
            elif self._namespaces and one.resource.namespaced:
                for name in self._namespaces:
                    yield Followed(one.resource, one.selector, name)
            else:
                yield one

    def _follow(self, followed: Followed, replica: Replica | None) -> Collection:
        collection = Collection(self, followed, self._intake, self._clock)
        reflector = Reflector(
            self._client,
            followed.resource.path(followed.namespace),
            followed.selector,
            collection,
            streaming=bool(self._streaming),
            replica=replica,
            pace=self._pace,
        )
        collection.start(reflector)
        return collection

    async def _is_gone(self, collection: Collection) -> bool:
        """Discovery may leave out what is there: the server itself must say so."""
        path = collection.followed.resource.path(collection.followed.namespace)
        try:
            await self._client.get(path, {"limit": "1"})
        except ApiError as error:
            return error.status == 404
        return False

    def resource_of(self, kind: str) -> Resource | None:
        """Of an ObjectKey's kind; None if it is not followed."""
        return next((one.followed.resource for one in self._of_kind(kind)), None)

    def generation_of(self, key: ObjectKey) -> int | None:
        """Of the object that was taken last, of a kind whose status we write; None: it is not from
        here."""
        for one in self._of_kind(key.kind):
            namespace = key.namespace if one.followed.resource.namespaced else ""
            if (found := one.generations.get((namespace, key.name))) is not None:
                return found
        return None

    def _of_kind(self, kind: str) -> Sequence[Collection]:
        return self._kinds.get(kind, ())

    def _index(self) -> None:
        self._kinds = {}
        for collection in self.collections.values():
            resource = collection.followed.resource
            cls = KINDS.get((resource.api_version, resource.kind))
            if cls is not None:
                self._kinds.setdefault(cls.KIND or cls.__name__, []).append(collection)

    # ------------------------------------------------------------------ what is said of it

    def changed(self) -> None:
        """Something means something else than before."""
        self._news.set()
        if self.is_ready:
            self._on_change()

    def told(self) -> None:
        """The state of some collection, or of discovery, may be another."""
        everything = self._discovered and all(one.complete for one in self.collections.values())
        if everything and not self.is_ready:
            self._ready.set()
        said = (*statuses(self._state()), *self._remarks.values())
        origin = Origin.kubernetes(SOURCE)
        before = self._inventory.statuses_of(origin)
        if before == said:
            return
        self._inventory.replace(origin, (), said)
        if not self.is_ready:
            for line in announcements(before, said):
                self._say(line)
        self.changed()

    def remark(self, about: str, why: str) -> None:
        """Something beside the collections that does not work, '' if it does: a warning."""
        if why:
            self._remarks[about] = Status(Position(SOURCE), "warning", "NotWritten", about, why)
        elif about not in self._remarks:
            return
        else:
            del self._remarks[about]
        self.told()

    @property
    def troubles(self) -> tuple[str, ...]:
        """Why nothing is served yet, for a readiness probe."""
        said = self._inventory.statuses_of(Origin.kubernetes(SOURCE))
        return tuple(one.message for one in said if one.severity == "error")

    def heard_from(self) -> None:
        self.last_contact = self._clock()

    def missed(self, error: Exception) -> None:
        """What was there may be there no more: look at once."""
        if isinstance(error, ApiError) and error.status == 404:
            self.look()

    def look(self) -> None:
        """Asks at once what is served now."""
        self._look.set()

    def _state(self) -> State:
        every = self.collections.values()
        failures = [(one.followed, told) for one in every if (told := one.trouble.told) is not None]
        discovery = self._discovery.told
        outages = [failure for _, failure in failures if failure.trouble == "away"]
        if discovery is not None and discovery.trouble == "away":
            outages.append(discovery)
        if not outages:
            self._outage = None
        elif self._outage is None:
            self._outage = min(outages, key=lambda one: one.since)
        return State(
            self._client.server,
            self._plan,
            self._outage,
            tuple(failures),
            discovery,
            unseen=not self.is_ready,
        )


def _identity(followed: Followed) -> tuple[str, str, str]:
    resource = followed.resource
    return resource.group, resource.kind, f"{followed.namespace} {followed.selector}"
