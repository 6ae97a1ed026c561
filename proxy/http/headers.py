"""Header blocks: values in a tuple, names in a shared `Shape`.

Clients send the same names in the same order again and again; only the values differ. So the names
are kept once, in a `Shape` (what JavaScript engines call a hidden class), and all that depends on
names alone is found once per shape: where a header stands, how the block is written, what an edit
does to it, and one regular expression that reads a whole head. Nothing here depends on values.

Names are lower-case; the shape remembers how they were spelled, and writes them so (`wire`).
Shapes are cached up to a bound: a peer that invents names gets shapes that are soon dropped, and
one that sends very long names gets shapes that no cache keeps (`lasting`).
This module knows no HTTP version and no meaning of any header.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Set
from operator import itemgetter
from typing import TypeVar

MAX_SHAPES = 2048
MAX_LASTING_BYTES = 4096  # of all names of a block; an ordinary one has a tenth of it
MAX_EDITS_PER_RULE = 512
MAX_GROWN = 16  # shapes that one shape leads to

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")
Pick = Callable[[tuple[bytes, ...]], tuple[bytes, ...]]


class Shape:
    """The names of a header block, in order. Never changed once made; compared by identity.

    lasting: it may be kept, and be the key of a cache; else it lives as long as its message.
    grown: the shapes with one name more, by that name."""

    __slots__ = ("grown", "index", "lasting", "names", "repeated", "template", "wire")

    def __init__(self, wire: tuple[bytes, ...]) -> None:
        self.wire = wire
        self.names = tuple([name.lower() for name in wire])
        self.index: dict[bytes, int] = {}
        for at, name in enumerate(self.names):
            self.index.setdefault(name, at)
        self.repeated = len(self.index) != len(wire)
        # `template % values` is the block as HTTP/1 writes it. A name is a token: '%' is legal.
        self.template = b"".join([n.replace(b"%", b"%%") + b": %b\r\n" for n in wire])
        self.lasting = len(self.template) <= MAX_LASTING_BYTES
        self.grown: dict[bytes, Shape] = {}

    def with_name(self, name: bytes) -> Shape:
        """This with `name` behind it."""
        found = self.grown.get(name)
        if found is None:
            found = shape_of((*self.wire, name))
            if found.lasting and len(self.grown) < MAX_GROWN:
                self.grown[name] = found
        return found

    def positions(self, name: bytes) -> list[int]:
        return [at for at, known in enumerate(self.names) if known == name]


_shapes: dict[tuple[bytes, ...], Shape] = {}


def shape_of(wire: tuple[bytes, ...]) -> Shape:
    """The shape for these names as spelled; the same object each time while the cache holds it."""
    found = _shapes.get(wire)
    if found is None:
        found = Shape(wire)
        if not found.lasting:
            return found
        if len(_shapes) >= MAX_SHAPES:
            _shapes.clear()
        _shapes[wire] = found
    return found


EMPTY = shape_of(())


class Headers:
    """A header block. Look-ups take lower-case names."""

    __slots__ = ("shape", "values")

    def __init__(self, shape: Shape = EMPTY, values: tuple[bytes, ...] = ()) -> None:
        self.shape = shape
        self.values = values

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
        """From (name, value) pairs."""
        listed = list(pairs)
        return cls(shape_of(tuple([n for n, _ in listed])), tuple([v for _, v in listed]))

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name`."""
        at = self.shape.index.get(name)
        return None if at is None else self.values[at]

    def all(self, name: bytes) -> list[bytes]:
        shape = self.shape
        if shape.repeated:
            return [self.values[at] for at in shape.positions(name)]
        at = shape.index.get(name)
        return [] if at is None else [self.values[at]]

    def joined(self, name: bytes) -> bytes | None:
        """All values of `name` joined by ',' as one list (RFC 9110 section 5.3)."""
        if not self.shape.repeated:
            return self.get(name)
        values = self.all(name)
        return b",".join(values) if values else None

    def __contains__(self, name: bytes) -> bool:
        return name in self.shape.index

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return zip(self.shape.names, self.values, strict=True)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"

    def add(self, name: bytes, value: bytes) -> None:
        self.shape = self.shape.with_name(name)
        self.values = (*self.values, value)

    def set(self, name: bytes, value: bytes) -> None:
        """Makes `value` the only one of `name`, in place of the first."""
        at = self.shape.index.get(name)
        if at is None:
            self.add(name, value)
            return
        self.values = (*self.values[:at], value, *self.values[at + 1 :])
        if self.shape.repeated:
            self._keep([i for i, n in enumerate(self.shape.names) if i == at or n != name])

    def remove(self, name: bytes) -> bool:
        """Takes all of `name` out; False if there was none."""
        if name not in self.shape.index:
            return False
        self._keep([at for at, known in enumerate(self.shape.names) if known != name])
        return True

    def _keep(self, kept: list[int]) -> None:
        if len(kept) != len(self.values):
            self.values = tuple([self.values[at] for at in kept])
            self.shape = shape_of(tuple([self.shape.wire[at] for at in kept]))


class Edit:
    """A standing order: take `remove` out, then append `names` with values given at each use.

    A name that is appended is taken out first, so `apply` overwrites. What the order means for a
    shape is found once; applying it again costs one look-up and one tuple."""

    __slots__ = ("_known", "_names", "_remove")

    def __init__(self, remove: Iterable[bytes] = (), names: tuple[bytes, ...] = ()) -> None:
        self._names = names
        self._remove = frozenset(remove) | frozenset(names)
        self._known: dict[Shape, tuple[Shape, Pick | None]] = {}

    def apply(self, headers: Headers, values: tuple[bytes, ...] = ()) -> None:
        known = self._known.get(headers.shape)
        if known is None:
            known = self._learn(headers.shape)
        headers.shape, pick = known
        headers.values = (headers.values if pick is None else pick(headers.values)) + values

    def _learn(self, shape: Shape) -> tuple[Shape, Pick | None]:
        edited = edited_shape(shape, self._remove, self._names)
        return remember(self._known, shape, shape, edited, MAX_EDITS_PER_RULE)


def edited_shape(
    shape: Shape, removes: Set[bytes], adds: Iterable[bytes] = ()
) -> tuple[Shape, Pick | None]:
    """`shape` without `removes` and with `adds` behind it, and what to pick of its values (None:
    all of them)."""
    kept = [at for at, name in enumerate(shape.names) if name not in removes]
    pick = None if len(kept) == len(shape.names) else picker(kept)
    return shape_of((*(shape.wire[at] for at in kept), *adds)), pick


def remember(table: dict[Key, Found], key: Key, shape: Shape, found: Found, at_most: int) -> Found:
    """Keeps what was found out about `shape` in `table`, which is emptied when full; nothing of a
    shape that is not to last. Gives `found` back."""
    if shape.lasting:
        if len(table) >= at_most:
            table.clear()
        table[key] = found
    return found


def picker(kept: list[int]) -> Pick:
    """A function that takes the values at `kept` out of a tuple, as a tuple."""
    if len(kept) > 1:
        return itemgetter(*kept)
    if kept:
        only = kept[0]
        return lambda values: (values[only],)
    return lambda _: ()
