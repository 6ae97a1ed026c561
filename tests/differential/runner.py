"""All batches of a run, two at a time, in a thread: a test waits only for its own scenario."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from tests.differential.batch import Judges, Verdict, batches, judge
from tests.differential.scenario import Scenario

BATCHES_AT_A_TIME = 2


class Runner:
    """`verdict(name)` blocks until that scenario was judged. The batches begin at once, in the
    order of `scenarios`."""

    def __init__(self, scenarios: Sequence[Scenario], judges: Judges) -> None:
        self._judges = judges
        self._batches = batches(scenarios)
        self._verdicts: dict[str, Future[Verdict]] = {
            scenario.name: Future() for scenario in scenarios
        }
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()

    def verdict(self, name: str, deadline_s: float | None = None) -> Verdict:
        return self._verdicts[name].result(deadline_s)

    async def _all(self) -> None:
        room = asyncio.Semaphore(BATCHES_AT_A_TIME)
        await asyncio.gather(*(self._one(batch, room) for batch in self._batches))

    async def _one(self, batch: list[Scenario], room: asyncio.Semaphore) -> None:
        """What goes wrong here is this batch's: the others are judged all the same."""
        async with room:
            try:
                for verdict in await judge(batch, self._judges):
                    self._verdicts[verdict.scenario.name].set_result(verdict)
            except Exception as failure:
                for scenario in batch:
                    if not self._verdicts[scenario.name].done():
                        self._verdicts[scenario.name].set_exception(failure)
