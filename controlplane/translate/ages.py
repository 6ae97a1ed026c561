"""The objects of a kind by age, as Istio ranks them: put in order once, and then what is new."""

from __future__ import annotations

from bisect import bisect_left
from typing import Generic, TypeVar

from controlplane.kinds.objects import Object
from controlplane.translate.differences import differences
from controlplane.translate.index import age, key_of

T = TypeVar("T", bound=Object)


class Ages(Generic[T]):
    """oldest_first: all of them; those of one age by namespace and name."""

    __slots__ = ("_items", "_ranks", "oldest_first")

    def __init__(self) -> None:
        self._items: tuple[T, ...] = ()
        self._ranks: list[tuple[object, ...]] = []
        self.oldest_first: tuple[T, ...] = ()

    @classmethod
    def following(cls, last: Ages[T] | None, items: tuple[T, ...]) -> Ages[T]:
        """Of these; `last` is the order of others, mostly the same."""
        last, made = last or cls(), cls()
        gone, new = differences(last._items, items)
        made._items = items
        if len(gone) + len(new) > len(items) // 2:
            made._ranks, made.oldest_first = _sorted(items)
            return made
        ranks, ordered = list(last._ranks), list(last.oldest_first)
        for one in gone:
            at = bisect_left(ranks, _rank(one))
            del ranks[at], ordered[at]
        for one in new:
            at = bisect_left(ranks, _rank(one))
            ranks.insert(at, _rank(one))
            ordered.insert(at, one)
        made._ranks, made.oldest_first = ranks, tuple(ordered)
        return made


def _rank(one: Object) -> tuple[object, ...]:
    return *age(one), *key_of(one)


def _sorted(items: tuple[T, ...]) -> tuple[list[tuple[object, ...]], tuple[T, ...]]:
    ordered = tuple(sorted(items, key=_rank))
    return [_rank(one) for one in ordered], ordered
