"""Earliest deadline first: entries come up in proportion to their weights, evenly spread."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def schedule(entries: Sequence[T], weight: Callable[[T], float], random: Random) -> Callable[[], T]:
    """A function that gives the next entry. weight: above 0, asked each time an entry is given.

    Begins somewhere in the sequence, so that many proxies do not march in step (Envoy's seed)."""
    queue = [(1 / weight(entry), at, entry) for at, entry in enumerate(entries)]
    heapq.heapify(queue)
    order = len(entries)

    def pick() -> T:
        nonlocal order
        deadline, _, entry = queue[0]
        order += 1
        heapq.heapreplace(queue, (deadline + 1 / weight(entry), order, entry))
        return entry

    for _ in range(random.randrange(len(entries))):
        pick()
    return pick
