"""A store that several replicas share, in memory: every one is told every change, in one order."""

from __future__ import annotations

from collections.abc import Collection

from controlplane.sources.store.values import (
    Change,
    Listener,
    Listeners,
    StoreAway,
    StoreConflict,
    Values,
)


class Room:
    """What all of them see. away: why nothing can be written."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.members: list[Member] = []
        self.away = ""

    def member(self) -> Member:
        return Member(self)


class Member:
    """Implements SharedStore for one replica."""

    shared = True
    place = "etcd://room/weft"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._listeners = Listeners()
        self.lose_answers = 0
        """Of how many commits it is not known whether they were done."""

    @property
    def away(self) -> str:
        return self._room.away

    def listen(self, prefix: str, listener: Listener) -> None:
        self._listeners.add(prefix, listener)

    def there(self, name: str) -> bytes | None:
        """What the store has, as anybody sees it."""
        return self._room.values.get(name)

    async def open(self) -> None:
        self._room.members.append(self)
        self._listeners.tell(Change(dict(self._room.values), whole=True))

    async def read(self, prefix: str) -> dict[str, bytes]:
        found = self._room.values.items()
        return {name: value for name, value in found if name.startswith(prefix)}

    async def commit(
        self, values: Values, transient: Collection[str] = (), expected: Values | None = None
    ) -> None:
        there = self._room.values
        if self._room.away:
            raise StoreAway(self._room.away)
        found = {name: there.get(name) for name in expected or {}}
        if found != (expected or {}):
            raise StoreConflict(found)
        for name, value in values.items():
            there.pop(name, None)
            if value is not None:
                there[name] = value
        for member in self._room.members:
            member._listeners.tell(Change(dict(values)))
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreAway("it is written, and nobody says so")

    async def close(self) -> None:
        if self in self._room.members:
            self._room.members.remove(self)
