"""Every object that a source holds, and which of them are in force.

An object belongs to an origin: a file, Kubernetes, or the management API. Where two origins (or one
file) define the same (kind, namespace, name), the first stays in force, files in the order of their
names before Kubernetes before the API, and the others get an error status. Equality is by meaning:
a change of position or of a comment does not matter. Knows nothing of where objects come from nor
of what they are for. A change costs what has changed, however much there is: what a kind has is the
same tuple from snapshot to snapshot until one of that kind changes.

    inventory = Inventory()
    inventory.replace(Origin.file("mesh/a.yaml"), objects, statuses)   # all that a file says
    inventory.put(obj)                                                 # one object of the API
    mesh, statuses = translate.build(inventory.snapshot(), trust_domain)
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from controlplane.kinds.objects import Object, ObjectKey
from controlplane.mesh.model import Status
from controlplane.mesh.statuses import in_order

K = TypeVar("K", bound=Object)
Kinds = Mapping[type[Object], tuple[Object, ...]]


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Who holds an object; the order decides who is first."""

    rank: int
    name: str

    @classmethod
    def file(cls, path: str) -> Origin:
        return cls(0, path)

    @classmethod
    def kubernetes(cls, name: str) -> Origin:
        """Of one object there, so that a change costs what it is."""
        return cls(1, name)

    @classmethod
    def held(cls, key: str) -> Origin:
        """What stands in for an object of the API that is refused since a restart."""
        return cls(3, key)


API = Origin(2, "api")
PRECEDENCE = "files come before Kubernetes, and that before what was applied"
"""Why one of two origins wins, for the user."""


class Snapshot:
    """The objects in force and what the sources have to say. Never changes."""

    __slots__ = ("_kinds", "statuses")

    def __init__(self, objects: Iterable[Object] = (), statuses: tuple[Status, ...] = ()) -> None:
        kinds: dict[type[Object], list[Object]] = defaultdict(list)
        for item in objects:
            kinds[type(item)].append(item)
        self._kinds: Kinds = {kind: tuple(items) for kind, items in kinds.items()}
        self.statuses = statuses

    @classmethod
    def of_kinds(cls, kinds: Kinds, statuses: tuple[Status, ...]) -> Snapshot:
        made = cls((), statuses)
        made._kinds = kinds
        return made

    def only(self, *kinds: type[Object]) -> Snapshot:
        """Nothing else; it is equal to one of before if nothing of these kinds has changed."""
        return Snapshot.of_kinds({kind: self._kinds.get(kind, ()) for kind in kinds}, ())

    def __eq__(self, other: object) -> bool:
        """By the identity of what a kind has, as equal objects may stand at other places."""
        if not isinstance(other, Snapshot) or self._kinds.keys() != other._kinds.keys():
            return False
        mine, others = self._kinds.items(), other._kinds
        return self.statuses == other.statuses and all(v is others[k] for k, v in mine)

    __hash__ = None  # type: ignore[assignment]

    @property
    def objects(self) -> tuple[Object, ...]:
        """Sorted by key."""
        every = (item for items in self._kinds.values() for item in items)
        return tuple(sorted(every, key=lambda item: item.key))

    @property
    def kinds(self) -> Kinds:
        """What there is of each kind."""
        return self._kinds

    def of(self, cls: type[K]) -> tuple[K, ...]:
        """Those of one kind, sorted by key; the same tuple while none of them has changed."""
        return cast(tuple[K, ...], self._kinds.get(cls, ()))


@dataclass(slots=True)
class _Holding:
    """What one origin has: its objects by key, and those whose key an earlier one has."""

    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    repeated: tuple[Object, ...] = ()
    statuses: tuple[Status, ...] = ()

    @classmethod
    def of(cls, objects: Iterable[Object], statuses: Iterable[Status]) -> _Holding:
        first: dict[ObjectKey, Object] = {}
        repeated = [item for item in objects if first.setdefault(item.key, item) is not item]
        return cls(first, tuple(repeated), tuple(statuses))

    def __bool__(self) -> bool:
        return bool(self.objects or self.statuses)


class _InForce:
    """The objects of one kind, in the order of their keys: a change costs what it is."""

    __slots__ = ("_keys", "objects")

    def __init__(self) -> None:
        self._keys: list[ObjectKey] = []
        self.objects: list[Object] = []

    def put(self, item: Object) -> None:
        place = bisect_left(self._keys, item.key)
        if self._keys[place : place + 1] == [item.key]:
            self.objects[place] = item
        else:
            self._keys.insert(place, item.key)
            self.objects.insert(place, item)

    def take_out(self, key: ObjectKey) -> None:
        """If it is there."""
        place = bisect_left(self._keys, key)
        if self._keys[place : place + 1] == [key]:
            del self._keys[place], self.objects[place]


class Inventory:
    __slots__ = ("_holders", "_holdings", "_in_force", "_kinds", "_statuses")

    def __init__(self) -> None:
        self._holdings: dict[Origin, _Holding] = {}
        self._holders: dict[ObjectKey, set[Origin]] = {}
        self._in_force: dict[type[Object], _InForce] = defaultdict(_InForce)
        self._kinds: dict[type[Object], tuple[Object, ...]] = {}
        self._statuses: tuple[Status, ...] | None = ()

    def replace(
        self, origin: Origin, objects: Iterable[Object], statuses: Iterable[Status] = ()
    ) -> bool:
        """Makes these the objects and statuses of `origin`. False: it had and has none.

        Text that only moved counts too, since statuses point at it; emission compares content."""
        old = self._holdings.get(origin, _Holding())
        new = _Holding.of(objects, statuses)
        if new:
            self._holdings[origin] = new
        else:
            self._holdings.pop(origin, None)
        if old.statuses != new.statuses or old.repeated or new.repeated:
            self._statuses = None
        for key in old.objects | new.objects:
            self._settle(key, origin, old.objects.get(key), new.objects.get(key))
        return bool(new or old)

    def put(self, obj: Object, origin: Origin = API) -> bool:
        """Adds or replaces one object. True: its meaning is new."""
        holding = self._holdings.setdefault(origin, _Holding())
        old = holding.objects.get(obj.key)
        holding.objects[obj.key] = obj
        self._settle(obj.key, origin, old, obj)
        return old != obj

    def remove(self, key: ObjectKey, origin: Origin = API) -> bool:
        """Removes one object. False: it was not there."""
        holding = self._holdings.get(origin, _Holding())
        old = holding.objects.pop(key, None)
        if not holding:
            self._holdings.pop(origin, None)
        if old is not None:
            self._settle(key, origin, old, None)
        return old is not None

    def objects_of(self, origin: Origin) -> tuple[Object, ...]:
        """Those that may be in force, in their order."""
        return tuple(self._holdings.get(origin, _Holding()).objects.values())

    def statuses_of(self, origin: Origin) -> tuple[Status, ...]:
        return self._holdings.get(origin, _Holding()).statuses

    def origins(self) -> tuple[Origin, ...]:
        return tuple(sorted(self._holdings))

    def find(self, key: ObjectKey, besides: Origin | None = None) -> Object | None:
        """The first object with this key, leaving one origin out."""
        holders = self._holders.get(key, set()) - {besides}
        return self._holdings[min(holders)].objects[key] if holders else None

    def origin_of(self, key: ObjectKey) -> Origin | None:
        """Who holds the object that is in force."""
        return min(self._holders.get(key, ()), default=None)

    def snapshot(self) -> Snapshot:
        for kind, items in self._in_force.items():
            if kind not in self._kinds:
                self._kinds[kind] = tuple(items.objects)
        if self._statuses is None:
            self._statuses = self._say()
        return Snapshot.of_kinds(dict(self._kinds), self._statuses)

    def _settle(
        self, key: ObjectKey, origin: Origin, old: Object | None, new: Object | None
    ) -> None:
        """`origin` had `old` under `key` and has `new`: decides which object is in force."""
        if old is new:
            return
        holders = self._holders.setdefault(key, set())
        contested = len(holders | {origin}) > 1
        (holders.discard if new is None else holders.add)(origin)
        if contested:
            self._statuses = None
        first = self._holdings[min(holders)].objects[key] if holders else None
        for item in (old, new):
            if item is not None and type(item) is not type(first):
                self._in_force[type(item)].take_out(key)
                self._kinds.pop(type(item), None)
        if first is not None:
            self._in_force[type(first)].put(first)
            self._kinds.pop(type(first), None)
        else:
            del self._holders[key]

    def _say(self) -> tuple[Status, ...]:
        """What the sources say, and the error of each object that is not in force."""
        said: list[Status] = []
        for holding in self._holdings.values():
            said += holding.statuses
            said += (self._repeated(item) for item in holding.repeated)
        for key, holders in self._holders.items():
            if len(holders) > 1:
                said += self._hidden(key, sorted(holders))
        return in_order(said)

    def _repeated(self, item: Object) -> Status:
        first = self.find(item.key)
        assert first is not None  # it is held itself
        return duplicate(item, first)

    def _hidden(self, key: ObjectKey, holders: list[Origin]) -> Iterator[Status]:
        """All but the first of those that hold something under `key`."""
        first = self._holdings[holders[0]].objects[key]
        for origin in holders[1:]:
            why = PRECEDENCE if origin.rank != holders[0].rank else ""
            yield duplicate(self._holdings[origin].objects[key], first, why)


def duplicate(item: Object, first: Object, why: str = "") -> Status:
    if first.position == item.position:  # a file that is followed was applied, too
        message = f"{item.key} is followed there already, and in force; change the file instead"
    else:
        message = f"{item.key} is already defined at {first.position}, which stays in force"
    message += why and f": {why}"
    return Status(item.position, "error", "Duplicate", str(item.key), message)


def duplicates(objects: Sequence[Object]) -> list[Status]:
    """The statuses of objects that have the key of an earlier one."""
    seen: dict[ObjectKey, Object] = {}
    repeated = ((item, seen.setdefault(item.key, item)) for item in objects)
    return [duplicate(item, first) for item, first in repeated if first is not item]
