"""The resources of one node at one moment, versioned by their content and shared where they can be.

    Resource    one, encoded once
    Layer       resources by name that many nodes have alike: one object for all of them
    Resources   the layers of one type, as one node has them
    Snapshot    all types

A version is a hash of content, so a reconnect, a restart or another replica sends nothing that the
proxy already has. Everything here is immutable. What differs between two snapshots is found by the
identity of layers first, and once for all nodes that have the same ones. It knows neither the mesh
nor streams nor messages. An EDS resource has the name of its cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from operator import is_
from typing import Any, TypeVar, overload
from zlib import crc32

from protos.frozen import frozen
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS

TYPES = (CDS, EDS, LDS, RDS, VHDS, SDS)
"""What is served, in the order in which it is pushed."""

T = TypeVar("T")
_MASK = (1 << 64) - 1
_REMEMBERED = 512
"""Pairs of layers whose difference is remembered."""


@frozen
class Resource:
    """One resource. `body` is the serialized google.protobuf.Any that goes on the wire, empty for
    one that does not exist. aliases: other names by which it is asked for (VHDS). mark: of its name
    and version; marks: of all its names."""

    name: str
    version: str
    body: bytes = field(repr=False)
    aliases: tuple[str, ...] = ()
    mark: int = field(init=False, repr=False, compare=False)
    marks: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mark", _mark(self.name, self.version))
        marks = self.mark
        for name in self.aliases:
            marks += _mark_as(name, self)
        object.__setattr__(self, "marks", marks)

    __hash__ = object.__hash__


@lru_cache(_REMEMBERED)
def _factor(type_url: str) -> int:
    return _mark(type_url, "") | 1


def _mark(name: str, version: str) -> int:
    """A name at a version, as one term of a sum that does not depend on the order."""
    return int.from_bytes(hashlib.sha256(f"{name}\0{version}".encode()).digest()[:8], "big")


def _mark_as(name: str, one: Resource) -> int:
    """Of a resource under this name: an alias is a factor of its mark, as there are many."""
    return one.mark if one.name == name else one.mark * (crc32(name.encode()) << 1 | 1)


class Layer(dict[str, Resource]):
    """Never changed once it is made; hashed by identity. digest: of all names and versions."""

    __slots__ = ("digest",)

    def __init__(self, resources: Mapping[str, Resource] | None = None) -> None:
        super().__init__(resources or {})
        self.digest = sum([_mark_as(name, one) for name, one in self.items()])

    @classmethod
    def by_all_names(cls, resources: Sequence[Resource]) -> Layer:
        """Each by its name and aliases; where two have one name it is the later one's."""
        names = {name: one for one in resources for name in (one.name, *one.aliases)}
        if len(names) != sum([1 + len(one.aliases) for one in resources]):
            return cls(names)
        made = cls()
        made.update(names)
        made.digest = sum([one.marks for one in resources])
        return made

    def exchanged(self, gone: Iterable[Resource], new: Iterable[Resource]) -> Layer | None:
        """The same with other resources in the place of some, under their names and aliases. None
        where a name would be two resources'."""
        made = Layer()
        made.update(self)
        digest = self.digest
        for one in gone:
            for name in (one.name, *one.aliases):
                if made.pop(name, None) is not one:
                    return None
            digest -= one.marks
        for one in new:
            for name in (one.name, *one.aliases):
                if made.setdefault(name, one) is not one:
                    return None
            digest += one.marks
        made.digest = digest
        return made

    __hash__ = object.__hash__  # type: ignore[assignment]


NO_LAYER = Layer()


class Resources(Mapping[str, Resource]):
    """Of one type. A later layer hides names of an earlier one.

    lazy: of how many layers, the first ones, a proxy gets only what it names; a subscription to all
    means the others."""

    __slots__ = ("digest", "layers", "lazy")

    def __init__(self, layers: tuple[Layer, ...] = (), lazy: int = 0) -> None:
        self.layers = layers
        self.lazy = lazy
        self.digest = sum([layer.digest for layer in layers]) & _MASK

    def __getitem__(self, name: str) -> Resource:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    @overload
    def get(self, name: str, /) -> Resource | None: ...
    @overload
    def get(self, name: str, /, default: Resource | T) -> Resource | T: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        for layer in reversed(self.layers):
            if name in layer:
                return layer[name]
        return default

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for layer in self.layers for name in layer))

    def __len__(self) -> int:
        return len(self.layers[0]) if len(self.layers) == 1 else sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return any(name in layer for layer in self.layers)

    def of_all(self, name: str) -> bool:
        """Whether it is there for who subscribes to all."""
        for layer in self.layers[self.lazy :]:  # noqa: SIM110  any() takes four times as long
            if name in layer:
                return True
        return False

    __hash__ = object.__hash__

    @lru_cache(_REMEMBERED)  # noqa: B019  few are kept, and what they hold is shared
    def changed_from(self, old: Resources, *, of_all: bool = False) -> frozenset[str]:
        """The names that are new, gone, or not at the version that they had. of_all: only of what
        there is for who subscribes to all."""
        if self._is_unlike(old):
            names = frozenset(self) | frozenset(old)
            return frozenset(filter(self._may_be_of_all(old), names)) if of_all else names
        first = self.lazy if of_all else 0
        found: frozenset[str] = frozenset()
        for before, now in zip(self._facing(old)[first:], self.layers[first:], strict=True):
            if before is not now:
                changed = _difference(before, now)
                found = found | changed if found else changed
        return found

    def _may_be_of_all(self, old: Resources) -> Callable[[str], bool]:
        return lambda name: self.of_all(name) or old.of_all(name)

    @lru_cache(_REMEMBERED)  # noqa: B019
    def changes_wildcards(self, old: Resources) -> bool:
        """Whether one of the names that changed is a wildcard's."""
        return any("*" in name for name in self.changed_from(old))

    def _is_unlike(self, other: Resources) -> bool:
        """Whether the layers can't be compared one by one. Nothing is like everything."""
        shape = (len(other.layers), other.lazy)
        return bool(other.layers) and shape != (len(self.layers), self.lazy)

    def _facing(self, other: Resources) -> tuple[Layer, ...]:
        return other.layers or (NO_LAYER,) * len(self.layers)

    @lru_cache(_REMEMBERED)  # noqa: B019
    def with_old(self, old: Resources) -> Resources:
        """These, and what only `old` has."""
        if self._is_unlike(old):
            gone = {name: resource for name, resource in old.items() if name not in self}
            return Resources((*self.layers, Layer(gone)), self.lazy)
        joined = tuple(map(_joined, self._facing(old), self.layers))
        return self if all(map(is_, joined, self.layers)) else Resources(joined, self.lazy)


@lru_cache(_REMEMBERED)
def _difference(old: Layer, new: Layer) -> frozenset[str]:
    changed = {
        name
        for name, resource in new.items()
        if (before := old.get(name)) is not resource
        and (before is None or before.version != resource.version)
    }
    return frozenset(changed | (old.keys() - new.keys()))


@lru_cache(_REMEMBERED)
def _joined(old: Layer, new: Layer) -> Layer:
    return new if old is new or old.keys() <= new.keys() else Layer({**old, **new})


NOTHING = Resources()


def version_of(resources: Mapping[str, Resource]) -> str:
    """A version for a whole set: the same set has the same version, in any order."""
    digest = resources.digest if isinstance(resources, Resources) else Layer(resources).digest
    return f"{digest & _MASK:016x}"


@lru_cache(4 * _REMEMBERED)
def of_layers(layers: tuple[Layer, ...], lazy: int) -> Resources:
    """The same object for all nodes that have these."""
    return Resources(layers, lazy)


class Snapshot:
    """type_url -> Resources, and one version for all of it. It never changes."""

    __slots__ = ("_version", "types")

    def __init__(self, types: Mapping[str, Resources]) -> None:
        self.types = types
        self._version = ""

    @property
    def version(self) -> str:
        if not self._version:
            digest = 0
            for type_url, found in self.types.items():
                digest += _factor(type_url) * found.digest
            self._version = f"{digest & _MASK:016x}"
        return self._version

    def of(self, type_url: str) -> Resources:
        return self.types.get(type_url, NOTHING)


def assemble(types: Mapping[str, Mapping[str, Resource]]) -> Snapshot:
    """Makes a Snapshot of already encoded resources."""
    made = {
        type_url: found if isinstance(found, Resources) else Resources((Layer(found),))
        for type_url, found in types.items()
    }
    return Snapshot(made)


EMPTY = assemble({})
