"""What translation made before: an object is made again only when what it was made of has changed.

    stage     a step of the translation over many objects; skipped when its inputs are the same
    each      inside of a stage: one object; made again when its inputs are other ones, or when a
              question that it asked an index has another answer now
    index     a look-up table over other objects, whose questions (`@asked`) are remembered
    grown     a table of very many objects, made of the one before and of what is new

Inputs are compared by identity (a kind's equality leaves positions out), tuples by their elements,
and what is equal to what was made before *is* it, so that what follows finds nothing new. A first
build remembers nothing and makes everything: there is one way to make an object, not two.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial, update_wrapper
from operator import is_
from typing import Any, Concatenate, ParamSpec, TypeVar

from controlplane.kinds.schema import Record
from controlplane.mesh.model import Status
from controlplane.mesh.statuses import in_order
from controlplane.translate.report import Report

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Question:
    """One call of a query of the index in `slot`, what it answered and what it told."""

    slot: str
    query: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]
    answer: Any
    told: frozenset[Status]


class Index:
    """A look-up table. One that no memo has made remembers no questions."""

    slot = ""
    memo: Memo | None = None

    def spares(self, before: Index, args: tuple[Any, ...]) -> bool:
        """Whether a question with these arguments surely has the answer that `before`, the table
        that this one is in place of, gave."""
        return False


I = TypeVar("I", bound=Index)  # noqa: E741


def asked(query: Callable[Concatenate[I, P], T]) -> Callable[Concatenate[I, P], T]:
    """For the methods of an Index: who asks is made again when the answer has changed."""

    def ask(self: I, /, *args: P.args, **named: P.kwargs) -> T:
        if self.memo is None:
            return query(self, *args, **named)
        answer: T = self.memo.ask(self, query, args, named)
        return answer

    return update_wrapper(ask, query)


def same(one: object, other: object) -> bool:
    """Whether what is made of one is made of the other, too."""
    if one is other:
        return True
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return not isinstance(one, Record) and type(one) is type(other) and one == other


@dataclass(slots=True)
class _Made:
    """indexes: those that the questions went to, as they were when the answers last stood, which
    was at `epoch`: no index has been replaced while that is the memo's."""

    inputs: tuple[object, ...]
    value: Any
    told: frozenset[Status]
    epoch: int
    questions: tuple[_Question, ...] = ()
    indexes: tuple[Index, ...] = ()


def _identical(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(map(is_, one, other))


class Each:
    """The objects of one stage: each(key, make, *inputs) is make(*inputs), or what that was."""

    __slots__ = ("_before", "_memo", "now")

    def __init__(self, memo: Memo, before: dict[Hashable, _Made]) -> None:
        self._memo = memo
        self._before = before
        self.now: dict[Hashable, _Made] = {}

    def __call__(self, key: Hashable, make: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        memo, made = self._memo, self._before.get(key)
        if made is not None and not named and _identical(made.inputs, args) and memo.is_fresh(made):
            if made.told:
                memo.report.add(made.told)
        else:
            made = memo.made(made, make, args, named)
        self.now[key] = made
        value: T = made.value
        return value


class Memo:
    """Of one inventory. `report` is where everything of one build is said."""

    __slots__ = ("_indexes", "_made", "_objects", "_said", "_trace", "epoch", "report")

    def __init__(self) -> None:
        self.report = Report()
        self._said: tuple[tuple[Status, ...], frozenset[Status], tuple[Status, ...]]
        self._said = ((), frozenset(), ())
        self.epoch = 0
        self._indexes: dict[str, Index] = {}
        self._made: dict[str, _Made] = {}
        self._objects: dict[str, dict[Hashable, _Made]] = {}
        self._trace: list[_Question] | None = None

    def begin(self) -> Report:
        """A new build begins, about which nothing has been said."""
        self.report.clear()
        return self.report

    def statuses(self, sources: tuple[Status, ...]) -> tuple[Status, ...]:
        """All that sources and this build said, sorted; the same tuple as before if it is equal."""
        told = self.report.statuses()
        if self._said[0] is not sources or self._said[1] != told:
            self._said = (sources, told, in_order({*sources, *told}))
        return self._said[2]

    def index(self, slot: str, make: Callable[P, I], *args: P.args, **named: P.kwargs) -> I:
        """make(...); the same object as before while its arguments are."""
        made = self._made[slot] = self.made(self._made.get(slot), make, args, named)
        found: I = made.value
        if self._indexes.get(slot) is not found:
            found.slot, found.memo = slot, self
            self._indexes[slot] = found
            self.epoch += 1
        return found

    def once(self, name: str, make: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """make(...), or what that was; it reads nothing but its arguments."""
        made = self._made[name] = self.made(self._made.get(name), make, args, named)
        value: T = made.value
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
        inputs = (*args, *named.values())
        known = self._made.get(name)
        if known is None or not _identical(known.inputs, inputs):
            value = make(None if known is None else known.value, *args, **named)
            known = self._made[name] = _Made(inputs, value, frozenset(), self.epoch)
        found: T = known.value
        return found

    def stage(
        self, name: str, make: Callable[Concatenate[Each, P], T], *args: P.args, **named: P.kwargs
    ) -> T:
        """make(each, ...), which reads nothing but its arguments and what indexes answer."""
        inputs = (*args, *named.values())
        known = self._made.get(name)
        if known is None or not same(known.inputs, inputs) or self._moved(known):
            each = Each(self, self._objects.get(name, {}))
            known = self._make(known, partial(make, each), args, named)
            asked_of = {index.slot: index for one in each.now.values() for index in one.indexes}
            known.indexes = (*known.indexes, *asked_of.values())
            self._objects[name], self._made[name] = each.now, known
        self.report.add(known.told)
        value: T = known.value
        return value

    def ask(
        self, index: Index, query: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        """Asks an index in the name of what is being made."""
        with self.report.apart() as told:
            answer = query(index, *args, **named)
        self.report.add(told)
        if self._trace is not None:
            question = _Question(index.slot, query, args, named, answer, frozenset(told))
            self._trace.append(question)
        return answer

    def made(
        self,
        known: _Made | None,
        make: Callable[..., Any],
        args: tuple[object, ...],
        named: dict[str, object],
    ) -> _Made:
        """`known`, if it would be made again as it is."""
        inputs = (*args, *named.values()) if named else args
        if known is None or not same(known.inputs, inputs) or not self._stands(known):
            known = self._make(known, make, args, named)
        self.report.add(known.told)
        return known

    def _make(
        self,
        known: _Made | None,
        make: Callable[..., Any],
        args: tuple[object, ...],
        named: dict[str, object],
    ) -> _Made:
        outer, self._trace = self._trace, []
        try:
            with self.report.apart() as told:
                value = make(*args, **named)
            questions = tuple(self._trace or ())
        finally:
            self._trace = outer
        if known is not None and same(known.value, value):
            value = known.value
        indexes = tuple(self._indexes[slot] for slot in {question.slot for question in questions})
        inputs = (*args, *named.values())
        return _Made(inputs, value, frozenset(told), self.epoch, questions, indexes)

    def is_fresh(self, made: _Made) -> bool:
        """Whether no index that was asked has been replaced, by the look of it."""
        return made.epoch == self.epoch or not made.indexes

    def _moved(self, made: _Made) -> bool:
        """Whether one of the indexes that were asked is another one now."""
        now = self._indexes
        return not self.is_fresh(made) and any(now[one.slot] is not one for one in made.indexes)

    def _stands(self, made: _Made) -> bool:
        """Whether every question has the answer that it had."""
        if not self._moved(made):
            made.epoch = self.epoch
            return True
        now = {index.slot: self._indexes[index.slot] for index in made.indexes}
        moved = {index.slot: index for index in made.indexes if now[index.slot] is not index}
        outer, self._trace = self._trace, None
        try:
            for question in made.questions:
                before, index = moved.get(question.slot), now[question.slot]
                if before is None or index.spares(before, question.args):
                    continue
                if not self._answered_alike(question, index):
                    return False
        finally:
            self._trace = outer
        made.indexes, made.epoch = tuple(now.values()), self.epoch
        return True

    def _answered_alike(self, question: _Question, index: Index) -> bool:
        with self.report.apart() as told:
            answer = question.query(index, *question.args, **question.named)
        return same(answer, question.answer) and told == question.told
