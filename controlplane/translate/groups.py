"""What many things say of names, by name: made of the one before, and only where it differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from controlplane.translate.differences import differences

T = TypeVar("T")
K = TypeVar("K")


class Groups(Generic[K, T]):
    """The same tuple for a name while the same things say something of it."""

    __slots__ = ("_groups", "_things")

    def __init__(self) -> None:
        self._things: tuple[T, ...] = ()
        self._groups: dict[K, tuple[T, ...]] = {}

    def following(self, things: tuple[T, ...], names: Callable[[T], Iterable[K]]) -> Groups[K, T]:
        """Of these things, of which none is there twice. names: of what one says something."""
        made: Groups[K, T] = Groups()
        made._things, made._groups = things, dict(self._groups)
        gone, new = differences(self._things, things)
        went = set(map(id, gone))
        come: dict[K, list[T]] = defaultdict(list)
        for one in new:
            for name in dict.fromkeys(names(one)):
                come[name].append(one)
        place = {id(one): at for at, one in enumerate(things)} if new else {}
        for name in {*come, *(name for one in gone for name in names(one))}:
            stay = [one for one in made._groups.pop(name, ()) if id(one) not in went]
            group = sorted((*stay, *come.get(name, ())), key=lambda one: place.get(id(one), 0))
            if group:
                made._groups[name] = tuple(group)
        return made

    def __eq__(self, other: object) -> bool:
        """Whether the same things say something of the same names."""
        if not isinstance(other, Groups):
            return False
        mine, others = self._groups, other._groups
        return mine.keys() == others.keys() and all(others[k] is v for k, v in mine.items())

    __hash__ = object.__hash__

    def of(self, name: K) -> tuple[T, ...]:
        """In the order of the things."""
        return self._groups.get(name, ())
