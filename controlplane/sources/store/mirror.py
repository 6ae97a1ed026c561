"""Keeps the inventory's applied objects equal to what a store has.

    mirror = Mirror(store, memory, box)
    await store.open()                # what was applied before is in force again
    await mirror.apply(records, objects)
    await mirror.expire()             # some seconds after a start: see below
    await mirror.forget()             # at a clean stop

Everything takes effect by being told by the store, so that all replicas take it in the same order.

Workloads are registered by those who run them (`transient`), and these register again as soon as
they find a new control plane. Until then proxies that reconnect must not be told that there are no
endpoints; so what a crash has left stays for a while. A shared store ends them by itself.

What today's rules refuse stays in the store, and its last good version in force; of a policy of
which none is known, what it guards is shut (controlplane.sources.held_shut).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from certs.sealed_box import SealedBox
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.parse import Parsed, parse
from controlplane.mesh.model import Position, Status
from controlplane.sources.held_shut import KINDS
from controlplane.sources.memory import MemorySource
from controlplane.sources.store.record import (
    PREFIX,
    Record,
    RecordError,
    decode,
    encode,
    is_kept,
    key_of,
    name_of,
)
from controlplane.sources.store.values import Change, Store

log = logging.getLogger("weft.controlplane.store")


class Mirror:
    """Make it before the store is opened."""

    __slots__ = (
        "_box",
        "_left",
        "_memory",
        "_only_here",
        "_records",
        "_refusals",
        "_sent",
        "_store",
        "_under_way",
        "_values",
        "changes",
    )

    def __init__(self, store: Store, memory: MemorySource, box: SealedBox | None = None) -> None:
        """box: what keys are sealed in; without one they are kept in memory only."""
        self._store = store
        self._memory = memory
        self._box = box
        self._values: dict[str, bytes] = {}
        self._records: dict[ObjectKey, Record] = {}
        self._only_here: set[ObjectKey] = set()
        self._left: set[ObjectKey] = set()
        self._sent: dict[bytes, Object] = {}
        self._refusals: set[ObjectKey] = set()
        self._under_way: Counter[str] = Counter()
        self.changes = 0
        store.listen(PREFIX, self._told)

    # ------------------------------------------------------------------ asked by users

    async def apply(
        self, records: Iterable[Record], objects: Iterable[Object]
    ) -> tuple[Status, ...]:
        """Puts in place what was examined; what is to be said of that. Raises StoreAway."""
        made = {item.key: item for item in objects}
        kept = {one.key: one for one in records if one.key in made and is_kept(one.key, self._box)}
        values = {name_of(key): encode(one, self._box) for key, one in kept.items()}
        self._sent = {values[name_of(key)]: made[key] for key in kept}
        await self._commit(values, kept.values())
        self._sent = {}
        self._left.difference_update(made)
        return self._keep_here([item for key, item in made.items() if key not in kept])

    async def take_over(self, records: Iterable[Record]) -> None:
        """What an earlier version has left. Raises StoreAway."""
        found = {name_of(one.key): one for one in records if is_kept(one.key, self._box)}
        values = {name: encode(one, self._box) for name, one in found.items()}
        await self._commit(values, found.values())
        self._left.update(one.key for one in found.values() if one.transient)

    async def _commit(self, values: Mapping[str, bytes], records: Iterable[Record]) -> None:
        transient = {name_of(one.key) for one in records if one.transient}
        new = {
            name: value
            for name, value in values.items()
            if name in transient or name in self._under_way or self._values.get(name) != value
        }
        if new:
            await self._write(new, transient)

    async def _write(
        self, values: Mapping[str, bytes | None], transient: Collection[str] = ()
    ) -> None:
        """What equals what is there is not as it was for long while another value is under way."""
        self._under_way.update(values.keys())
        try:
            await self._store.commit(values, transient)
        finally:
            self._under_way.subtract(values.keys())
            self._under_way += Counter()  # without those that are over

    async def delete(self, keys: Collection[ObjectKey]) -> bool:
        """False: there was none of them. Raises StoreAway."""
        stored = [name for key in keys if (name := name_of(key)) in self._values]
        here = self._only_here.intersection(keys)
        if stored:
            await self._write(dict.fromkeys(stored))
        for key in here:
            self._only_here.discard(key)
            self._memory.remove(key)
        return bool(stored or here)

    def text_of(self, key: ObjectKey) -> str:
        """YAML of one that was applied; empty where there is none."""
        return self._records[key].text if key in self._records else ""

    async def expire(self) -> int:
        """Deletes what a crash has left and nobody registered again; answers how many."""
        left, self._left = self._left, set()
        await self.delete(left)
        return len(left)

    async def forget(self) -> None:
        """Deletes what is transient."""
        if not self._store.shared:
            await self.delete([key for key, one in self._records.items() if one.transient])

    @property
    def count(self) -> int:
        """Objects in the store."""
        return len(self._values)

    @property
    def refused(self) -> int:
        """Of these such as are not understood."""
        return len(self._refusals)

    # ------------------------------------------------------------------ told by the store

    def _told(self, change: Change) -> None:
        self.changes += 1
        gone = [name for name, value in change.values.items() if value is None]
        if change.whole:
            gone += self._values.keys() - change.values.keys()
        starting = change.whole and not self._values
        for name in gone:
            self._remove(name)
        fresh = [item for name, item in self._taken(change) if name not in gone]
        self._memory.put(fresh)
        if starting and not self._store.shared:
            self._left = {key for key, one in self._records.items() if one.transient}

    def _taken(self, change: Change) -> Iterable[tuple[str, Object]]:
        """What is new, and can be taken."""
        for name, value in change.values.items():
            if value is None or self._values.get(name) == value:
                continue
            self._values[name] = value
            found = self._read(name, value)
            if found is not None:
                yield name, found

    def _read(self, name: str, value: bytes) -> Object | None:
        key = key_of(name)
        if key is None:
            log.error("%s: %r is no name of an object", self._store.place, name)
            return None
        try:
            record = decode(name, value, self._box)
        except RecordError as error:
            self._records.pop(key, None)
            self._refused(key, self._store.place, "", str(error))
            return None
        self._records[key] = record
        sent = self._sent.pop(value, None)
        parsed = Parsed((sent,)) if sent else parse(record.text, record.source, record.line)
        good = [item for item in parsed.objects if item.key == key]
        if not good:
            said = [str(one.message) for one in parsed.statuses if one.severity == "error"]
            why = said[0] if said else f"it is no {key.kind}"
            self._refused(key, record.source, record.text, why)
            return None
        self._refusals.discard(key)
        return good[0]

    def _refused(self, key: ObjectKey, source: str, text: str, why: str) -> None:
        self._refusals.add(key)
        message = f"{key} was applied, and is refused now: {why}; apply it again, or delete it"
        log.warning("%s: %s", self._store.place, message)
        status = Status(Position(source), "error", "NotRestored", str(key), message)
        self._memory.say(str(key), status)
        if key.kind in KINDS:
            self._memory.hold_shut(key, text, source)

    def _remove(self, name: str) -> None:
        self._values.pop(name, None)
        key = key_of(name)
        if key is not None:
            self._records.pop(key, None)
            self._refusals.discard(key)
            self._left.discard(key)
            self._memory.remove(key)

    def _keep_here(self, objects: list[Object]) -> tuple[Status, ...]:
        self._only_here.update(item.key for item in objects)
        self._memory.put(objects)
        message = (
            "kept in memory only, as keys are not written down unsealed: apply it again after a "
            "restart, or give the control plane a --state-passphrase-file"
        )
        return tuple(
            Status(item.position, "warning", "MemoryOnly", str(item.key), message)
            for item in objects
        )
