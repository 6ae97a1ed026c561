"""The objects behind the management API: put in place, tried, found, and where they come from.

    objects = Objects(inventory, memory, journal, rooms, "cluster.local", time.time)
    outcome = await objects.apply(Application(text, "api", dry_run=True))
    found = objects.find(Query("vs", namespace="default"))

It knows nothing of messages, nor of who may ask.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.emit.patch_values import faults as patch_faults
from controlplane.inventory import API, Inventory, Snapshot
from controlplane.kinds.nouns import kinds_of
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.parse import Parsed
from controlplane.kinds.yaml_nodes import YamlError
from controlplane.mesh.model import Status
from controlplane.mesh.statuses import in_order
from controlplane.rollout import Progress, Rollout
from controlplane.sources.journal import NOT_ON_DISK, Journal
from controlplane.sources.manifests import flow, objects_of
from controlplane.sources.memory import MemorySource
from controlplane.status import StatusRegistry
from controlplane.translate import build

MAX_WAIT_S = 600.0
_SOURCES = ("file", "kubernetes", "api", "api")
"""By the rank of an Origin."""


@dataclass(frozen=True, slots=True)
class Application:
    """wait_s: how long to wait for proxies, None for not at all."""

    manifest: str
    source: str
    dry_run: bool = False
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """changes: what became of each object, nothing if an error kept all of them out."""

    statuses: tuple[Status, ...]
    changes: tuple[tuple[ObjectKey, str], ...] = ()
    rollout: Progress | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What '' stands for is not asked. kind is a word of a user's."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    manifests: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """source: 'file', 'kubernetes' or 'api'. manifest: YAML, '' where there is none to be shown."""

    key: ObjectKey
    labels: Mapping[str, str]
    source: str
    position: str
    manifest: str
    statuses: tuple[Status, ...]


@dataclass(frozen=True, slots=True)
class Rooms:
    """settled: waits until what has changed is in force. statuses: what is said then."""

    settled: Callable[[], Awaitable[None]]
    statuses: Callable[[], tuple[Status, ...]]
    registry: StatusRegistry


class Objects:
    __slots__ = ("_clock", "_inventory", "_journal", "_memory", "_rooms", "_trust_domain")

    def __init__(
        self,
        inventory: Inventory,
        memory: MemorySource,
        journal: Journal,
        rooms: Rooms,
        trust_domain: str,
        clock: Callable[[], float],
    ) -> None:
        self._inventory = inventory
        self._memory = memory
        self._journal = journal
        self._rooms = rooms
        self._trust_domain = trust_domain
        self._clock = clock

    async def apply(self, asked: Application) -> Outcome:
        """What parsing says and, if all of it could be put in place, translation too."""
        parsed, said = self._memory.examine(asked.manifest, asked.source)
        if any(status.severity == "error" for status in said):
            return Outcome(said)
        changes = tuple((item.key, self._change(item)) for item in parsed.objects)
        if asked.dry_run:
            return Outcome(await self._tried(parsed, asked.source, said), changes)
        since = self._clock()
        said = self._journal.apply(asked.manifest, asked.source)
        await self._rooms.settled()
        rollout = None if asked.wait_s is None else await self._rolled_out(since, asked.wait_s)
        return Outcome(_of(asked.source, said, self._rooms.statuses()), changes, rollout)

    async def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Whether there was one that had been applied. kind: a word of a user's, of which a key's
        own kind is itself. Raises UnknownWord."""
        found = kinds_of(kind)
        kinds = {kind} if kind in found else found
        existed = [self._journal.delete(one, namespace, name) for one in sorted(kinds)]
        await self._rooms.settled()
        return any(existed)

    def find(self, query: Query) -> list[Stored]:
        """Those in force that the query takes, by their keys. Raises UnknownWord."""
        kinds = kinds_of(query.kind) if query.kind else None
        told: dict[str, list[Status]] = defaultdict(list)
        for status in self._rooms.statuses():
            told[status.object].append(status)
        found = [
            one
            for one in self._inventory.snapshot().objects
            if (kinds is None or one.key.kind in kinds) and _taken(one, query)
        ]
        texts: dict[str, dict[ObjectKey, str]] = {}
        return [
            self._stored(one, told, self._text(one, texts) if query.manifests else "")
            for one in found
        ]

    # ------------------------------------------------------------------ one object

    def _stored(self, one: Object, told: Mapping[str, list[Status]], manifest: str) -> Stored:
        origin = self._inventory.origin_of(one.key)
        source = _SOURCES[origin.rank] if origin is not None else ""
        statuses = tuple(told.get(str(one.key), ()))
        position = str(one.position)
        return Stored(one.key, one.metadata.labels, source, position, manifest, statuses)

    def _text(self, one: Object, texts: dict[str, dict[ObjectKey, str]]) -> str:
        """texts: of the files that were read for others."""
        origin = self._inventory.origin_of(one.key)
        if one.key.kind in NOT_ON_DISK or origin is None:
            return ""
        if origin.rank:
            return self._journal.text_of(one.key) if origin == API else ""
        if origin.name not in texts:
            texts[origin.name] = _texts_of(Path(origin.name))
        return texts[origin.name].get(one.key, "")

    def _change(self, new: Object) -> str:
        old = self._inventory.find(new.key)
        if old is None:
            return "created"
        return "unchanged" if old == new else "configured"

    # ------------------------------------------------------------------ the whole

    async def _tried(
        self, parsed: Parsed, source: str, said: tuple[Status, ...]
    ) -> tuple[Status, ...]:
        """What would be said, in a thread: it translates everything anew."""
        there = {item.key: item for item in self._inventory.snapshot().objects}
        there |= {item.key: item for item in parsed.objects}
        objects = [there[key] for key in sorted(there)]
        mesh, found = await asyncio.to_thread(build, Snapshot(objects), self._trust_domain)
        return _of(source, said, (*found, *patch_faults(mesh.patches)))

    async def _rolled_out(self, since: float, wait_s: float) -> Progress:
        """How far it has come when it is over, or the time."""
        registry = self._rooms.registry
        rollout = Rollout(registry.connections(), since)

        async def over() -> Progress:
            seen = registry.changes
            while not (progress := rollout.progress()).over:
                seen = await registry.wait(seen)
            return progress

        try:
            return await asyncio.wait_for(over(), min(wait_s, MAX_WAIT_S))
        except TimeoutError:
            return rollout.progress()


def _of(source: str, said: Iterable[Status], every: Iterable[Status]) -> tuple[Status, ...]:
    return in_order({*said, *(one for one in every if one.position.source == source)})


def _taken(one: Object, query: Query) -> bool:
    labels = one.metadata.labels
    return (
        query.namespace in ("", one.namespace)
        and query.name in ("", one.name)
        and all(labels.get(key) == value for key, value in query.labels.items())
    )


def _texts_of(path: Path) -> dict[ObjectKey, str]:
    """The objects of a file as it is now; none if it can't be read."""
    try:
        return {key: flow(node) for key, node in objects_of(path.read_text("utf-8-sig"))}
    except (OSError, ValueError, YamlError):
        return {}
