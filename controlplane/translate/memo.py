"""What translation made before: an object is made again only when what it was made of has changed.

    stage     a step of the translation over many objects; skipped when its inputs are the same
    each      inside of a stage: lists of objects, one by one; one is made again when its inputs are
              other ones, or when a question that it asked an index has another answer now
    index     a look-up table over other objects, whose questions (`@asked`) are remembered
    grown     a table of very many objects, made of the one before and of what is new

Inputs are compared by identity (a kind's equality leaves positions out), tuples by their elements,
and what is equal to what was made before *is* it, so that what follows finds nothing new. A first
build remembers nothing and makes everything: there is one way to make an object, not two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Any, Concatenate, ParamSpec, TypeVar

from controlplane.mesh.model import Status
from controlplane.mesh.statuses import in_order
from controlplane.translate.columns import Column, Made
from controlplane.translate.questions import Index, Question, same
from controlplane.translate.report import Report

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I", bound=Index)  # noqa: E741

Name = Callable[[Any], Hashable]
Rows = tuple[Sequence[object], ...]


@dataclass(slots=True)
class _Kept:
    """Something made as a whole. tables: those that the questions went to, as they were when the
    answers last stood."""

    inputs: tuple[object, ...]
    made: Made
    tables: dict[str, Index]


def _identical(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(map(is_, one, other))


class Each:
    """The lists of one stage: each(name, name_of, make, (list, other), (thing,)) is
    make(item, other's item, thing) for all items of two lists, or what that was. name_of: of an
    item of the first one, by which it is found again."""

    __slots__ = ("_columns", "_memo", "_stage", "used")

    def __init__(self, memo: Memo, stage: str, columns: dict[str, Column[Any]]) -> None:
        self._memo = memo
        self._stage = stage
        self._columns = columns
        self.used: list[Column[Any]] = []

    def __call__(
        self,
        name: str,
        name_of: Name,
        make: Callable[..., T],
        rows: Rows,
        ground: tuple[object, ...] = (),
    ) -> tuple[T, ...]:
        column: Column[T] = self._columns.setdefault(name, Column())
        self.used.append(column)
        return column.update(self._memo, name_of, make, rows, ground)

    def grown(
        self,
        name: str,
        make: Callable[Concatenate[T | None, P], T],
        *args: P.args,
        **named: P.kwargs,
    ) -> T:
        """The same as Memo's, of this stage."""
        return self._memo.grown(f"{self._stage}: {name}", make, *args, **named)


class Memo:
    """Of one inventory. `report` is where everything of one build is said."""

    __slots__ = ("_changes", "_columns", "_indexes", "_kept", "_said", "_trace", "report")

    def __init__(self) -> None:
        self.report = Report()
        self._said: tuple[tuple[Status, ...], frozenset[Status], tuple[Status, ...]]
        self._said = ((), frozenset(), ())
        self._indexes: dict[str, Index] = {}
        self._changes: dict[str, tuple[Index, Index, Collection[Hashable] | None]] = {}
        self._kept: dict[str, _Kept] = {}
        self._columns: dict[str, dict[str, Column[Any]]] = {}
        self._trace: list[Question] | None = None

    def begin(self) -> Report:
        """A new build begins, about which nothing has been said."""
        self.report.swap(set())
        return self.report

    def statuses(self, sources: tuple[Status, ...]) -> tuple[Status, ...]:
        """All that sources and this build said, sorted; the same tuple as before if it is equal."""
        told = self.report.statuses()
        if self._said[0] is not sources or self._said[1] != told:
            self._said = (sources, told, in_order({*sources, *told}))
        return self._said[2]

    def index(self, slot: str, make: Callable[P, I], *args: P.args, **named: P.kwargs) -> I:
        """make(...); the same object as before while its arguments are."""
        found = self.once(slot, make, *args, **named)
        if self._indexes.get(slot) is not found:
            found.slot, found.memo = slot, self
            self._indexes[slot] = found
        return found

    def once(self, name: str, make: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """make(...), or what that was; it reads nothing but its arguments and what indexes
        answer."""
        known, inputs = self._kept.get(name), (*args, *named.values())
        if known is None or not same(known.inputs, inputs) or not self._stands(known):
            known = self._make(name, make, args, named)
        self.report.add(known.made.told)
        value: T = known.made.value
        return value

    def grown(
        self,
        name: str,
        make: Callable[Concatenate[T | None, P], T],
        *args: P.args,
        **named: P.kwargs,
    ) -> T:
        """make(last, ...), where `last` is what it made before, from which it may take what is as
        it was: the answer must be the same without it."""
        known, inputs = self._kept.get(name), (*args, *named.values())
        if known is None or not _identical(known.inputs, inputs):
            value = make(None if known is None else known.made.value, *args, **named)
            known = self._kept[name] = _Kept(inputs, Made(value, frozenset(), ()), {})
        found: T = known.made.value
        return found

    def stage(
        self, name: str, make: Callable[Concatenate[Each, P], T], *args: P.args, **named: P.kwargs
    ) -> T:
        """make(each, ...), which reads nothing but its arguments and what indexes answer."""
        known, inputs = self._kept.get(name), (*args, *named.values())
        if known is None or not same(known.inputs, inputs) or self._moved(known):
            each = Each(self, name, self._columns.setdefault(name, {}))
            known = self._make(name, partial(make, each), args, named)
            for column in each.used:
                known.tables |= column.tables
        self.report.add(known.made.told)
        value: T = known.made.value
        return value

    def ask(
        self, index: Index, query: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        """Asks an index in the name of what is being made."""
        if self._trace is None:
            return query(index, *args, **named)
        answer, told = self._answer(index, query, args, named)
        self.report.add(told)
        self._trace.append(Question(index.slot, query, args, named, answer, told))
        return answer

    def _answer(
        self, index: Index, query: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, frozenset[Status]]:
        """What it answers, and what it tells on the way."""
        told = set[Status]()
        outer = self.report.swap(told)
        try:
            return query(index, *args, **named), frozenset(told)
        finally:
            self.report.swap(outer)

    # ------------------------------------------------------------------ Maker of columns

    def traced(self, make: Callable[..., Any], args: tuple[object, ...]) -> Made:
        outer_trace, self._trace = self._trace, []
        told = set[Status]()
        outer = self.report.swap(told)
        try:
            value = make(*args)
            return Made(value, frozenset(told), tuple(self._trace or ()))
        finally:
            self._trace = outer_trace
            self.report.swap(outer)

    def stands(self, question: Question) -> bool:
        """Whether it has the answer that it had."""
        outer, self._trace = self._trace, None
        try:
            index = self._indexes[question.slot]
            found = self._answer(index, question.query, question.args, question.named)
        finally:
            self._trace = outer
        return same(found[0], question.answer) and found[1] == question.told

    def table(self, slot: str) -> Index:
        return self._indexes[slot]

    def changed(self, slot: str, before: Index) -> Collection[Hashable] | None:
        """What of the table in this slot has changed since it was `before`; of many that ask most
        had the same one."""
        now, known = self._indexes[slot], self._changes.get(slot)
        if known is None or known[0] is not before or known[1] is not now:
            known = self._changes[slot] = (before, now, now.changed_since(before))
        return known[2]

    def tell(self, told: Iterable[Status]) -> None:
        self.report.add(told)

    # ------------------------------------------------------------------ wholes

    def _make(
        self,
        name: str,
        make: Callable[..., Any],
        args: tuple[object, ...],
        named: dict[str, object],
    ) -> _Kept:
        known = self._kept.get(name)
        made = self.traced(partial(make, **named) if named else make, args)
        if known is not None and same(known.made.value, made.value):
            made = made._replace(value=known.made.value)
        tables = {one.slot: self._indexes[one.slot] for one in made.questions}
        self._kept[name] = _Kept((*args, *named.values()), made, tables)
        return self._kept[name]

    def _moved(self, kept: _Kept) -> bool:
        """Whether one of the indexes that were asked is another one now."""
        now = self._indexes
        return any(now[slot] is not before for slot, before in kept.tables.items())

    def _stands(self, kept: _Kept) -> bool:
        """Whether every question has the answer that it had."""
        if not self._moved(kept):
            return True
        for question in kept.made.questions:
            index, before = self._indexes[question.slot], kept.tables[question.slot]
            if index is before or not self._concerns(question, index, before):
                continue
            if not self.stands(question):
                return False
        kept.tables = {slot: self._indexes[slot] for slot in kept.tables}
        return True

    def _concerns(self, question: Question, index: Index, before: Index) -> bool:
        changed = self.changed(question.slot, before)
        return changed is None or any(mark in changed for mark in index.marks(question.args))
