"""The parts that snapshots are made of, shared by the nodes that have them, and what a node had.

Compared by identity. What differs between two parts is found once for all nodes that go from one to
the other. It knows neither the mesh nor what a part is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from operator import is_

from controlplane.resources import NO_LAYER, TYPES, Layer, Snapshot, of_layers

_REMEMBERED = 512
"""Pairs of parts whose difference is remembered."""
_ALL_TYPES = frozenset(range(len(TYPES)))


class Part:
    """type URL -> its layer. Never changed. layers: of all types, in TYPES."""

    __slots__ = ("layers", "types")

    def __init__(self, types: Mapping[str, Layer]) -> None:
        self.types = types
        self.layers = tuple([types.get(type_url, NO_LAYER) for type_url in TYPES])


NO_PART = Part({})
Parts = tuple[Part, ...]


class Assembly:
    """A snapshot, and the parts of which it was made."""

    __slots__ = ("parts", "snapshot")

    def __init__(self, parts: Parts, snapshot: Snapshot) -> None:
        self.parts = parts
        self.snapshot = snapshot


def assembled(
    parts: Parts, lazy: frozenset[str], of_services: int, last: Assembly | None
) -> Assembly:
    """Types whose layers are those of `last` are the same object. lazy: of these a node gets what
    it names, as far as it is in the first `of_services` parts."""
    if last is None or len(last.parts) != len(parts):
        changed, types = _ALL_TYPES, {}
    else:
        changed = _changed(last.parts, parts)
        if not changed:
            return Assembly(parts, last.snapshot)
        types = dict(last.snapshot.types)
    for at in changed:
        type_url = TYPES[at]
        layers = tuple([part.layers[at] for part in parts])
        types[type_url] = of_layers(layers, of_services if type_url in lazy else 0)
    return Assembly(parts, Snapshot(types))


def _changed(before: Parts, now: Parts) -> frozenset[int]:
    """The places in TYPES of what is not the same."""
    found: frozenset[int] = frozenset()
    for old, new in zip(before, now, strict=True):
        if old is not new:
            unlike = _unlike(old, new)
            found = found | unlike if found else unlike
    return found


@lru_cache(_REMEMBERED)
def _unlike(one: Part, other: Part) -> frozenset[int]:
    same = map(is_, one.layers, other.layers)
    return frozenset(at for at, alike in enumerate(same) if not alike)
