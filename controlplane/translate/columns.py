"""What is made of each object of a list: again only where what it was made of has changed.

A row has what stands at one place of several lists, and is found again by the name of the first
one. Lists are compared with those of before at once, and questions (`questions`) are asked again
only of tables that are others now, and only where they say that something has changed: a change
costs what it concerns, and of all others the comparison of two pointers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from itertools import compress, count
from operator import is_not
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from controlplane.mesh.model import Status
from controlplane.translate.questions import Index, Question, same

T = TypeVar("T")

_NOTHING = object()
"""In place of what a new row was made of before."""
_EVERYTHING = object()
"""A mark of all questions."""


class Made(NamedTuple):
    """What something came to, what was told and what was asked meanwhile."""

    value: Any
    told: frozenset[Status]
    questions: tuple[Question, ...]


class Maker(Protocol):
    """Who makes, and knows the tables as they are now."""

    def traced(self, make: Callable[..., Any], args: tuple[object, ...]) -> Made: ...
    def stands(self, question: Question) -> bool: ...
    def table(self, slot: str) -> Index: ...
    def changed(self, slot: str, before: Index) -> Collection[Hashable] | None: ...
    def tell(self, told: Iterable[Status]) -> None: ...


class _Row:
    __slots__ = ("at", "made")

    def __init__(self, at: int, made: Made) -> None:
        self.at = at
        self.made = made


class Column(Generic[T]):
    """tables: those that were asked, by slot, as they were when all answers stood."""

    __slots__ = ("_asking", "_ground", "_inputs", "_rows", "_telling", "tables", "values")

    def __init__(self) -> None:
        self._inputs: tuple[Sequence[object], ...] = ()
        self._ground: tuple[object, ...] = ()
        self._rows: list[_Row | None] = []
        self._asking: dict[str, dict[Hashable, set[_Row]]] = {}
        self._telling: dict[_Row, None] = {}
        self.tables: dict[str, Index] = {}
        self.values: tuple[T, ...] = ()

    def update(
        self,
        maker: Maker,
        name_of: Callable[[Any], Hashable],
        make: Callable[..., T],
        inputs: tuple[Sequence[object], ...],
        ground: tuple[object, ...],
    ) -> tuple[T, ...]:
        """make(*row, *ground) for each row; the same tuple as before if all of it is."""
        if len(inputs) != len(self._inputs):
            self._inputs = ((),) * len(inputs)
        self._arrange(maker, name_of, inputs[0])
        alike = same(self._ground, ground)
        for at in self._suspects(maker, inputs) if alike else range(len(self._rows)):
            self._make(maker, make, at, (*(one[at] for one in inputs), *ground))
        self._inputs, self._ground = inputs, ground
        self.tables = {slot: maker.table(slot) for slot in self._asking}
        for row in self._telling:
            maker.tell(row.made.told)
        values = tuple([row.made.value for row in self._rows if row is not None])
        if len(values) != len(self.values) or any(map(is_not, values, self.values)):
            self.values = values
        return self.values

    # ------------------------------------------------------------------ which rows

    def _arrange(
        self, maker: Maker, name_of: Callable[[Any], Hashable], subjects: Sequence[object]
    ) -> None:
        """Puts the rows of before where their subjects are now; of new ones there is none."""
        old, rows = self._inputs[0], self._rows
        if len(old) == len(subjects) and all(
            name_of(old[at]) == name_of(subjects[at]) for at in _unlike(old, subjects)
        ):
            return
        known = {name_of(one): row for one, row in zip(old, rows, strict=True)}
        assert len(known) == len(rows), "a name stands for one row, or the other is never forgotten"
        self._rows = [known.pop(name_of(one), None) for one in subjects]
        for row in filter(None, known.values()):
            self._forget(maker, row)
        self._inputs = tuple(
            [_NOTHING if row is None else one[row.at] for row in self._rows] for one in self._inputs
        )
        for at, kept in enumerate(self._rows):
            if kept is not None:
                kept.at = at

    def _suspects(self, maker: Maker, inputs: tuple[Sequence[object], ...]) -> list[int]:
        """Where something is not as it was."""
        pairs = zip(self._inputs, inputs, strict=True)
        found = {at for old, new in pairs for at in _unlike(old, new)}
        suspects = {at for at in found if not self._is_alike(at, inputs)}
        suspects.update(at for at, row in enumerate(self._rows) if row is None)
        for row in self._doubted(maker):
            if row.at not in suspects and not all(map(maker.stands, row.made.questions)):
                suspects.add(row.at)
        return sorted(suspects)

    def _is_alike(self, at: int, inputs: tuple[Sequence[object], ...]) -> bool:
        return all(same(old[at], new[at]) for old, new in zip(self._inputs, inputs, strict=True))

    def _doubted(self, maker: Maker) -> set[_Row]:
        """Those that asked about what has changed."""
        found: set[_Row] = set()
        for slot, before in self.tables.items():
            if maker.table(slot) is not before:
                asking, changed = self._asking[slot], maker.changed(slot, before)
                for mark in (_EVERYTHING,) if changed is None else changed:
                    found |= asking.get(mark, set())
        return found

    # ------------------------------------------------------------------ one row

    def _make(
        self, maker: Maker, make: Callable[..., T], at: int, args: tuple[object, ...]
    ) -> None:
        made, row = maker.traced(make, args), self._rows[at]
        if row is None:
            row = self._rows[at] = _Row(at, made)
        else:
            if same(row.made.value, made.value):
                made = made._replace(value=row.made.value)
            self._forget(maker, row)
            row.made = made
        if made.told:
            self._telling[row] = None
        for question in made.questions:
            asking = self._asking.setdefault(question.slot, {})
            for mark in _marks(maker, question):
                asking.setdefault(mark, set()).add(row)

    def _forget(self, maker: Maker, row: _Row) -> None:
        """What it told and asked."""
        self._telling.pop(row, None)
        for question in row.made.questions:
            asking = self._asking[question.slot]
            for mark in _marks(maker, question):
                if mark in asking:
                    asking[mark].discard(row)
                    if not asking[mark]:
                        del asking[mark]


def _marks(maker: Maker, question: Question) -> Iterable[Hashable]:
    yield _EVERYTHING
    yield from maker.table(question.slot).marks(question.args)


def _unlike(before: Sequence[object], now: Sequence[object]) -> Iterable[int]:
    """The places where not the same object stands, of as many."""
    return () if before is now else compress(count(), map(is_not, before, now))
