"""The objects behind the management API: put in place, tried, found, and where they come from.

    objects = Objects(inventory, memory, mirror, rooms, "cluster.local", time.time)
    outcome = await objects.apply(Application((Text(manifest, "api"),), dry_run=True))
    found = await objects.find(Query("vs", namespace="default"))

It knows nothing of messages, nor of who may ask.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import field
from pathlib import Path

from controlplane.emit.patch_values import faults as patch_faults
from controlplane.inventory import API, Inventory, Snapshot, duplicates
from controlplane.kinds.nouns import kinds_of
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.yaml_nodes import YamlError
from controlplane.mesh.model import Status
from controlplane.mesh.statuses import in_order
from controlplane.rollout import Progress, Rollout
from controlplane.sources.held_shut import KINDS
from controlplane.sources.manifests import flow, objects_of
from controlplane.sources.memory import MemorySource
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.record import SEALED_KINDS, Record, records_of
from controlplane.status import StatusRegistry
from controlplane.translate import build
from protos.frozen import frozen

MAX_WAIT_S = 600.0
SHORT_CHARACTERS = 65_536
"""Of manifests that are split at once."""
WATCH_INTERVAL_S = 0.1
"""The least time between two looks of `watch`: a thousand proxies that connect are no change."""
_Stamp = tuple[int, int, int]
_SOURCES = ("file", "kubernetes", "api", "api")
"""By the rank of an Origin."""


@frozen
class Text:
    """source: where it stands, for positions."""

    manifest: str
    source: str


@frozen
class Application:
    """Texts of which everything is put in place, or nothing. wait_s: how long to wait for proxies,
    None for not at all. transient: it ends with who has applied it."""

    texts: tuple[Text, ...]
    dry_run: bool = False
    wait_s: float | None = None
    transient: bool = False


@frozen
class Outcome:
    """changes: what became of each object, nothing if an error kept all of them out."""

    statuses: tuple[Status, ...]
    changes: tuple[tuple[ObjectKey, str], ...] = ()
    rollout: Progress | None = None


@frozen
class Deletion:
    existed: bool
    rollout: Progress | None = None


@frozen
class Query:
    """What '' stands for is not asked. kind is a word of a user's."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    manifests: bool = False


@frozen
class Stored:
    """source: 'file', 'kubernetes' or 'api'. manifest: YAML, '' where there is none to be shown."""

    key: ObjectKey
    labels: Mapping[str, str]
    source: str
    position: str
    manifest: str
    statuses: tuple[Status, ...]


@frozen
class Rooms:
    """settled: waits until what has changed is in force. statuses: what is said then."""

    settled: Callable[[], Awaitable[None]]
    statuses: Callable[[], tuple[Status, ...]]
    registry: StatusRegistry


class _Files:
    """The texts of objects in files, read again where a file is another."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Stamp, dict[ObjectKey, str]]] = {}

    def read(self, paths: Iterable[str]) -> None:
        """Of all that is looked at. Blocks on the disk; for a thread."""
        found: dict[str, tuple[_Stamp, dict[ObjectKey, str]]] = {}
        for name in paths:
            stamp, known = _stamp(name), self._known.get(name)
            if known is None or known[0] != stamp:
                known = (stamp, _texts_of(Path(name)))
            found[name] = known
        self._known = found

    def text_of(self, name: str, key: ObjectKey) -> str:
        """YAML; empty for one that is not there, and of a file that was not read."""
        known = self._known.get(name)
        return known[1].get(key, "") if known is not None else ""


class Objects:
    __slots__ = ("_clock", "_inventory", "_memory", "_mirror", "_rooms", "_trust_domain")

    def __init__(
        self,
        inventory: Inventory,
        memory: MemorySource,
        mirror: Mirror,
        rooms: Rooms,
        trust_domain: str,
        clock: Callable[[], float],
    ) -> None:
        self._inventory = inventory
        self._memory = memory
        self._mirror = mirror
        self._rooms = rooms
        self._trust_domain = trust_domain
        self._clock = clock

    async def apply(self, asked: Application) -> Outcome:
        """What parsing says and, if all of it could be put in place, translation too. Raises
        StoreAway."""
        examined = [self._memory.examine(one.manifest, one.source) for one in asked.texts]
        objects = [item for parsed, _ in examined for item in parsed.objects]
        said = tuple(dict.fromkeys(one for _, statuses in examined for one in statuses))
        said += tuple(one for one in duplicates(objects) if one not in said)
        said += tuple(_transient_policies(objects) if asked.transient else ())
        if any(status.severity == "error" for status in said):
            return Outcome(in_order(said))
        sources = frozenset(one.source for one in asked.texts)
        changes = tuple((item.key, self._change(item)) for item in objects)
        if asked.dry_run:
            return Outcome(await self._tried(objects, sources, said), changes)
        since = self._clock()
        records = await _records(asked)
        said += await self._mirror.apply(records, objects)
        rollout = await self._settled(since, asked.wait_s)
        return Outcome(_of(sources, said, self._rooms.statuses()), changes, rollout)

    async def delete(
        self, kind: str, namespace: str, name: str, wait_s: float | None = None
    ) -> Deletion:
        """Of what had been applied. kind: a word of a user's, of which a key's own kind is itself.
        Raises UnknownWord and StoreAway."""
        found = kinds_of(kind)
        kinds = {kind} if kind in found else found
        since = self._clock()
        keys = [ObjectKey(one, namespace, name) for one in sorted(kinds)]
        existed = await self._mirror.delete(keys)
        return Deletion(existed, await self._settled(since, wait_s))

    async def watch(self, query: Query) -> AsyncIterator[tuple[str, Stored | None]]:
        """What `find` answers, as changes: 'added' each, 'synced', and then what becomes of them.
        Raises UnknownWord."""
        known: dict[ObjectKey, Stored] = {}
        synced, files = False, _Files()
        while True:
            seen = self._rooms.registry.changes
            found = {one.key: one for one in await self._look(query, files)}
            for key in sorted(known.keys() - found.keys()):
                yield "deleted", known[key]
            for key, one in found.items():
                if known.get(key) != one:
                    yield "modified" if key in known else "added", one
            if not synced:
                yield "synced", None
            known, synced = found, True
            await asyncio.sleep(WATCH_INTERVAL_S)
            await self._rooms.registry.wait(seen)

    async def find(self, query: Query) -> list[Stored]:
        """Those in force that the query takes, by their keys. Raises UnknownWord."""
        return await self._look(query, _Files())

    async def _look(self, query: Query, files: _Files) -> list[Stored]:
        kinds = kinds_of(query.kind) if query.kind else None
        told: dict[str, list[Status]] = defaultdict(list)
        for status in self._rooms.statuses():
            told[status.object].append(status)
        found = [
            one
            for one in self._inventory.snapshot().objects
            if (kinds is None or one.key.kind in kinds) and _taken(one, query)
        ]
        if query.manifests:
            origins = (self._inventory.origin_of(one.key) for one in found)
            paths = {one.name for one in origins if one is not None and not one.rank}
            await asyncio.to_thread(files.read, paths)
        return [
            self._stored(one, told, self._text(one, files) if query.manifests else "")
            for one in found
        ]

    # ------------------------------------------------------------------ one object

    def _stored(self, one: Object, told: Mapping[str, list[Status]], manifest: str) -> Stored:
        origin = self._inventory.origin_of(one.key)
        source = _SOURCES[origin.rank] if origin is not None else ""
        statuses = tuple(told.get(str(one.key), ()))
        position = str(one.position)
        return Stored(one.key, one.metadata.labels, source, position, manifest, statuses)

    def _text(self, one: Object, files: _Files) -> str:
        origin = self._inventory.origin_of(one.key)
        if one.key.kind in SEALED_KINDS or origin is None:
            return ""
        if origin.rank:
            return self._mirror.text_of(one.key) if origin == API else ""
        return files.text_of(origin.name, one.key)

    def _change(self, new: Object) -> str:
        old = self._inventory.find(new.key)
        if old is None:
            return "created"
        return "unchanged" if old == new else "configured"

    # ------------------------------------------------------------------ the whole

    async def _tried(
        self, made: Iterable[Object], sources: Collection[str], said: tuple[Status, ...]
    ) -> tuple[Status, ...]:
        """What would be said, in a thread: it translates everything anew."""
        there = {item.key: item for item in self._inventory.snapshot().objects}
        there |= {item.key: item for item in made}
        objects = [there[key] for key in sorted(there)]
        mesh, found = await asyncio.to_thread(build, Snapshot(objects), self._trust_domain)
        return _of(sources, said, (*found, *patch_faults(mesh.patches)))

    async def _settled(self, since: float, wait_s: float | None) -> Progress | None:
        await self._rooms.settled()
        return None if wait_s is None else await self._rolled_out(since, wait_s)

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


async def _records(asked: Application) -> list[Record]:
    """In a thread if there is much: to come back from one takes turns of the loop."""
    if sum(len(one.manifest) for one in asked.texts) <= SHORT_CHARACTERS:
        return _split(asked)
    return await asyncio.to_thread(_split, asked)


def _split(asked: Application) -> list[Record]:
    return [
        record
        for one in asked.texts
        for record in records_of(one.manifest, one.source, transient=asked.transient)
    ]


def _of(
    sources: Collection[str], said: Iterable[Status], every: Iterable[Status]
) -> tuple[Status, ...]:
    return in_order({*said, *(one for one in every if one.position.source in sources)})


def _transient_policies(objects: Iterable[Object]) -> Iterator[Status]:
    for item in objects:
        if item.key.kind in KINDS:
            message = "a policy is not transient: without it doors would be open"
            yield Status(item.position, "error", "Transient", str(item.key), message)


def _taken(one: Object, query: Query) -> bool:
    labels = one.metadata.labels
    return (
        query.namespace in ("", one.namespace)
        and query.name in ("", one.name)
        and all(labels.get(key) == value for key, value in query.labels.items())
    )


def _stamp(name: str) -> _Stamp:
    """By which one is known to be as it was."""
    try:
        status = os.stat(name)
    except OSError:
        return (0, 0, 0)
    return status.st_ino, status.st_mtime_ns, status.st_size


def _texts_of(path: Path) -> dict[ObjectKey, str]:
    """The objects of a file as it is now; none if it can't be read."""
    try:
        return {key: flow(node) for key, node in objects_of(path.read_text("utf-8-sig"))}
    except (OSError, ValueError, YamlError):
        return {}
