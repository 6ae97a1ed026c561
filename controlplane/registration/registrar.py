"""Registers proxies that name a WorkloadGroup as long as they are connected, and a while longer.

An Observer of the discovery streams. Entries are applied to the store, so that every replica knows
them; they are transient. Who loses its proxy waits for it to come back, here or at another replica:
an entry that has another's mark by then is not ours to delete.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.parse import parse
from controlplane.kinds.workload_group import WorkloadGroup
from controlplane.mesh.model import Position, Status
from controlplane.registration.entry import OF_GROUP, is_ready, key_of, manifest, why_not
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.record import records_of
from controlplane.sources.store.values import StoreAway
from controlplane.tasks import spawn
from controlplane.xds.service import Connection
from controlplane.xds.stream import Answer
from controlplane.xds.wire import Push
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.registration")

GRACE_S = 10.0
"""How long an entry outlives its proxy's stream, Istio's default."""
RETRY_S = 1.0
SOURCE = "registration"
TAKEN = (
    "there is a WorkloadEntry of that name already, which was not registered: delete it, or call "
    "the group otherwise"
)


@frozen
class _Made:
    """Of what an entry was made."""

    group: WorkloadGroup | None
    healthy: bool | None
    taken: bool = False


class Registrar:
    def __init__(
        self,
        mirror: Callable[[], Mirror],
        find: Callable[[ObjectKey], Object | None],
        say: Callable[..., None],
        mark: str,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        """mirror: where entries go, once it is there. find: the object in force. say(about,
        *statuses): what is to be said. mark: of this control plane, unlike any other's."""
        self._mirror = mirror
        self._find = find
        self._say = say
        self._mark = mark
        self._sleep = sleep
        self._made_of: dict[Connection, _Made] = {}
        self._open: dict[ObjectKey, set[Connection]] = {}

    def changed(self, connection: Connection) -> None:
        if connection.node.group:
            (self._came if connection.open else self._left)(connection)

    def _came(self, connection: Connection) -> None:
        """Or its group may be another now."""
        node, key = connection.node, key_of(connection.node)
        found = self._find(ObjectKey("WorkloadGroup", node.namespace, node.group))
        group = found if isinstance(found, WorkloadGroup) else None
        made = _Made(group, connection.healthy, self._is_taken(key))
        if connection in self._made_of and self._made_of[connection] == made:
            return
        self._made_of[connection] = made
        self._open.setdefault(key, set()).add(connection)
        fault = why_not(node, connection.identity, group) or (TAKEN if made.taken else "")
        self._tell(key, group, fault)
        if group is not None and not fault:
            ready = is_ready(group, connection.healthy)
            text = manifest(node, group, self._mark, ready=ready)
            spawn(self._register(connection, made, text), f"registration of {key}")

    def _is_taken(self, key: ObjectKey) -> bool:
        """By an entry that no proxy has registered: it may be another service account's."""
        found = self._find(key)
        return found is not None and OF_GROUP not in found.metadata.annotations

    def _tell(self, key: ObjectKey, group: WorkloadGroup | None, fault: str) -> None:
        about = f"registration of {key}"
        if not fault:
            self._say(about)
            return
        log.warning("%s is not registered: %s", key.name, fault)
        position = group.position if group is not None else Position(SOURCE)
        label = str(group.key) if group is not None else str(key)
        message = f"the proxy {key.name} is not registered: {fault}"
        self._say(about, Status(position, "warning", "NotRegistered", label, message))

    async def _register(self, connection: Connection, made: _Made, text: str) -> None:
        """Until it is there, or not wanted any more."""
        records = tuple(records_of(text, SOURCE, transient=True))
        while connection.open and self._made_of.get(connection) == made:
            try:
                await self._mirror().apply(records, parse(text, SOURCE).objects)
            except StoreAway as error:
                log.warning("%s waits to be registered: %s", connection.node.workload, error)
                await self._sleep(RETRY_S)
            else:
                log.info("registered %s", connection.node.workload)
                return

    def _left(self, connection: Connection) -> None:
        if connection not in self._made_of:
            return
        del self._made_of[connection]
        key = key_of(connection.node)
        there = self._open[key]
        there.discard(connection)
        if not there:
            del self._open[key]
            self._say(f"registration of {key}")
            spawn(self._forget(key), f"end of the registration of {key}")

    async def _forget(self, key: ObjectKey) -> None:
        await self._sleep(GRACE_S)
        while key not in self._open and self._mark in self._mirror().text_of(key):
            try:
                await self._mirror().delete({key})
            except StoreAway as error:
                log.warning("%s waits to be taken out: %s", key.name, error)
                await self._sleep(RETRY_S)
            else:
                log.info("took %s out: its proxy is gone", key.name)

    def pushed(self, connection: Connection, push: Push) -> None:
        """What is sent changes no entry."""

    def rejected(self, connection: Connection, answer: Answer) -> None:
        """A proxy that refuses a part serves on with the rest."""

    def converged(self, connection: Connection, after_s: float) -> None:
        """It stands in the mesh as soon as it is connected."""
