"""Each thing is worked on when it is due, once at a time, and not too many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from controlplane.rounds import Rounds
from controlplane.tasks import spawn


class Works:
    """due: when, by name. Work lasts until `release`; begun: in order."""

    def __init__(self, **due: float) -> None:
        self.due = due
        self.begun: list[str] = []
        self.now = 0.0
        self._held: dict[str, asyncio.Event] = {}
        self._begins = asyncio.Event()

    def all_due(self) -> Iterator[tuple[str, float]]:
        return iter(list(self.due.items()))

    async def work(self, name: str) -> None:
        self.begun.append(name)
        self._begins.set()
        self._held[name] = asyncio.Event()
        await self._held[name].wait()
        self.due[name] = self.now + 100.0

    async def begin(self, count: int) -> None:
        """Until so many have begun."""
        while len(self.begun) < count:
            self._begins.clear()
            await asyncio.wait_for(self._begins.wait(), 10.0)

    def release(self, name: str) -> None:
        self._held[name].set()


async def test_what_is_due_is_begun_and_the_rest_waits_for_a_place() -> None:
    works = Works(a=0.0, b=0.0, c=0.0, later=50.0)
    rounds = Rounds("work", works.all_due, works.work, lambda: works.now, at_a_time=2)
    running = spawn(rounds.run(), "rounds")
    await works.begin(2)
    rounds.wake()  # nothing is begun twice
    works.release("a")
    await works.begin(3)
    assert works.begun == ["a", "b", "c"]
    works.now = 60.0
    works.release("b")
    works.release("c")
    await works.begin(4)
    assert works.begun[3] == "later"
    works.release("later")
    running.cancel()


async def test_waking_makes_it_look_again() -> None:
    works = Works()
    rounds = Rounds("work", works.all_due, works.work, lambda: works.now)
    running = spawn(rounds.run(), "rounds")
    await asyncio.sleep(0)
    works.due["new"] = 0.0
    rounds.wake()
    await works.begin(1)
    works.release("new")
    running.cancel()
