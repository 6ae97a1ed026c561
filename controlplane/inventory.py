"""Every object that a source holds, and which of them are in force.

An object belongs to an origin: a file, or the management API. Where two origins (or one file)
define the same (kind, namespace, name), the first stays in force, files in the order of their
names before the API, and the others get an error status. Equality is by meaning: a change of
position or of a comment does not matter. Knows nothing of where objects come from nor of what
they are for.

    inventory = Inventory()
    inventory.replace(Origin.file("mesh/a.yaml"), objects, statuses)   # all that a file says
    inventory.put(obj)                                                 # one object of the API
    mesh, statuses = translate.build(inventory.snapshot(), trust_domain)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from controlplane.kinds.objects import Object, ObjectKey
from controlplane.mesh.model import Status

K = TypeVar("K", bound=Object)


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Who holds an object; the order decides who is first."""

    rank: int
    name: str

    @classmethod
    def file(cls, path: str) -> Origin:
        return cls(0, path)


API = Origin(1, "api")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The objects in force, sorted by key, and what the sources have to say. Never changes."""

    objects: tuple[Object, ...] = ()
    statuses: tuple[Status, ...] = ()

    def of(self, cls: type[K]) -> tuple[K, ...]:
        return tuple(item for item in self.objects if isinstance(item, cls))


@dataclass(frozen=True, slots=True)
class _Holding:
    objects: tuple[Object, ...] = ()
    statuses: tuple[Status, ...] = ()


class Inventory:
    __slots__ = ("_holdings",)

    def __init__(self) -> None:
        self._holdings: dict[Origin, _Holding] = {}

    def replace(
        self, origin: Origin, objects: Iterable[Object], statuses: Iterable[Status] = ()
    ) -> bool:
        """Makes these the objects and statuses of `origin`. False: it had and has none.

        Text that only moved counts too, since statuses point at it; emission compares content."""
        old = self._holdings.get(origin, _Holding())
        new = _Holding(tuple(objects), tuple(statuses))
        if new.objects or new.statuses:
            self._holdings[origin] = new
        else:
            self._holdings.pop(origin, None)
        return bool(new.objects or new.statuses or old.objects or old.statuses)

    def put(self, obj: Object, origin: Origin = API) -> bool:
        """Adds or replaces one object. True: its meaning is new."""
        holding = self._holdings.get(origin, _Holding())
        old = next((item for item in holding.objects if item.key == obj.key), None)
        others = tuple(item for item in holding.objects if item.key != obj.key)
        self._holdings[origin] = _Holding((*others, obj), holding.statuses)
        return old != obj

    def remove(self, key: ObjectKey, origin: Origin = API) -> bool:
        """Removes one object. False: it was not there."""
        holding = self._holdings.get(origin, _Holding())
        others = tuple(item for item in holding.objects if item.key != key)
        if len(others) == len(holding.objects):
            return False
        self._holdings[origin] = _Holding(others, holding.statuses)
        return True

    def objects_of(self, origin: Origin) -> tuple[Object, ...]:
        return self._holdings.get(origin, _Holding()).objects

    def origins(self) -> tuple[Origin, ...]:
        return tuple(sorted(self._holdings))

    def find(self, key: ObjectKey, besides: Origin | None = None) -> Object | None:
        """The first object with this key, leaving one origin out."""
        for origin in sorted(self._holdings):
            if origin == besides:
                continue
            for item in self._holdings[origin].objects:
                if item.key == key:
                    return item
        return None

    def snapshot(self) -> Snapshot:
        in_force: dict[ObjectKey, Object] = {}
        statuses: list[Status] = []
        for origin in sorted(self._holdings):
            holding = self._holdings[origin]
            statuses += holding.statuses
            for item in holding.objects:
                first = in_force.setdefault(item.key, item)
                if first is not item:
                    statuses.append(duplicate(item, first))
        ordered = tuple(in_force[key] for key in sorted(in_force))
        return Snapshot(ordered, tuple(sorted(statuses)))


def duplicate(item: Object, first: Object) -> Status:
    message = f"{item.key} is already defined at {first.position}, which stays in force"
    return Status(item.position, "error", "Duplicate", str(item.key), message)


def duplicates(objects: Sequence[Object]) -> list[Status]:
    """The statuses of objects that have the key of an earlier one."""
    seen: dict[ObjectKey, Object] = {}
    repeated = ((item, seen.setdefault(item.key, item)) for item in objects)
    return [duplicate(item, first) for item, first in repeated if first is not item]
