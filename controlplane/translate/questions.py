"""Look-up tables whose answers are remembered by who asked for them.

A query (`@asked`) that is made while something is translated becomes a question of that: it is
translated again when the answer is another one. A table says which answers may have changed since
the one before it (`changed_since`), by marks that questions have, so that a change is looked for
where it was. Knows nothing of who remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from controlplane.kinds.schema import Record
from controlplane.mesh.model import Status
from protos.frozen import frozen

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class Question:
    """One call of a query of the index in `slot`, what it answered and what it told."""

    slot: str
    query: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]
    answer: Any
    told: frozenset[Status]


class Asking(Protocol):
    """Who remembers questions."""

    def ask(
        self, index: Index, query: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any: ...


class Index:
    """A look-up table. One that no memo has made remembers no questions."""

    slot = ""
    memo: Asking | None = None

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        """At what of it a question with these arguments looks."""
        return ()

    def changed_since(self, before: Any) -> Collection[Hashable] | None:
        """The marks of questions to which it may answer something else than `before`, the table
        of the same class that it is in place of; None: any question."""
        return None


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


def unlike(before: Mapping[T, object], now: Mapping[T, object]) -> set[T]:
    """The keys under which there is another object, by identity."""
    found = {key for key, value in now.items() if before.get(key) is not value}
    return found | (before.keys() - now.keys())
