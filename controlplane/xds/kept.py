"""What was made before is not made again while it would be the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import compress
from operator import is_, is_not
from typing import Generic, TypeVar

from controlplane.mesh.model import Mesh, Service

T = TypeVar("T")


class Kept(Generic[T]):
    """The last one made for each key, and of what; keys that nobody asks for are forgotten by
    every second `sweep`."""

    __slots__ = ("_now", "_old")

    def __init__(self) -> None:
        self._now: dict[Hashable, tuple[tuple[object, ...], T]] = {}
        self._old: dict[Hashable, tuple[tuple[object, ...], T]] = {}

    @property
    def size(self) -> int:
        """Of those that were asked for since the last sweep."""
        return len(self._now)

    def last(self, key: Hashable) -> tuple[tuple[object, ...], T] | None:
        return self._now.get(key) or self._old.get(key)

    def get(self, key: Hashable, made_of: tuple[object, ...], make: Callable[[T | None], T]) -> T:
        """make(the last one), unless that was made of the very same."""
        found = self.last(key)
        if found is None or not same(found[0], made_of):
            found = (made_of, make(found[1] if found is not None else None))
        self._now[key] = found
        return found[1]

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        """make() if there is none; it is kept and may change."""
        found = self.last(key)
        return self.put(key, found[1] if found is not None else make())

    def put(self, key: Hashable, value: T) -> T:
        """Keeps what was made by other means."""
        self._now[key] = ((), value)
        return value

    def values(self) -> Iterator[T]:
        """Of all keys that are not forgotten."""
        return (value for _, value in (self._old | self._now).values())

    def sweep(self) -> None:
        self._old, self._now = self._now, {}


_BY_IDENTITY = (Service, Mesh)
"""Comparing them would take longer than making what is made of them."""


def same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    if len(one) != len(other):
        return False
    return all(map(is_, one, other)) or all(
        a is b or (not isinstance(a, _BY_IDENTITY) and a == b)
        for a, b in zip(one, other, strict=True)
    )


class Column(Generic[T]):
    """A value for each service of a list, made again where the service is another object."""

    __slots__ = ("_ground", "_services", "values")

    def __init__(self) -> None:
        self._services: tuple[Service, ...] = ()
        self._ground: tuple[object, ...] = ()
        self.values: tuple[T, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self._services

    def update(
        self,
        services: tuple[Service, ...],
        ground: tuple[object, ...],
        make: Callable[[Service, T | None], T],
    ) -> bool:
        """make(service, the last value of its host name). ground: what else all values depend on.
        True: there is another value."""
        before, alike = self.values, same(self._ground, ground)
        others = self._others(services) if alike else None
        if others is not None:
            made = list(before)
            for place in others:
                made[place] = make(services[place], before[place])
        else:
            known = {
                one.hostname: (one, value)
                for one, value in zip(self._services, before, strict=True)
            }
            made = [_made(one, known.get(one.hostname), alike, make) for one in services]
        self._services, self._ground = services, ground
        if len(made) == len(before) and all(map(is_, made, before)):
            return False
        self.values = tuple(made)
        return True

    def fill(self, services: tuple[Service, ...], values: tuple[T, ...]) -> None:
        """The first values, which were made elsewhere and depend on nothing else."""
        self._services, self.values = services, values

    def _others(self, services: tuple[Service, ...]) -> list[int] | None:
        """The places of those that are others now; None if it is not the same hosts in a row."""
        last = self._services
        if len(services) != len(last):
            return None
        places = list(compress(range(len(last)), map(is_not, last, services)))
        in_place = all(services[place].hostname == last[place].hostname for place in places)
        return places if in_place else None


def _made(
    service: Service,
    known: tuple[Service, T] | None,
    alike: bool,
    make: Callable[[Service, T | None], T],
) -> T:
    if known is not None and alike and known[0] is service:
        return known[1]
    return make(service, known[1] if known is not None else None)
