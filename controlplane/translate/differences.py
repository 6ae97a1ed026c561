"""What differs between two long tuples, mostly little."""

from __future__ import annotations

from operator import is_
from typing import TypeVar

T = TypeVar("T")


def _in_common(one: tuple[T, ...], other: tuple[T, ...]) -> int:
    """How many are the same from the begin on."""
    alike = list(map(is_, one, other))
    return alike.index(False) if False in alike else len(alike)


def differences(before: tuple[T, ...], after: tuple[T, ...]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """What is only in one of them, by identity."""
    head = _in_common(before, after)
    left, right = before[head:], after[head:]
    tail = _in_common(left[::-1], right[::-1])
    left, right = left[: len(left) - tail], right[: len(right) - tail]
    old, new = set(map(id, left)), set(map(id, right))
    return (
        tuple(one for one in left if id(one) not in new),
        tuple(one for one in right if id(one) not in old),
    )
