"""Work that is due again and again, for many things: each is worked on once at a time.

It knows neither what the things are nor what is done. Times are of the wall clock, which may jump.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from controlplane.tasks import spawn

MAX_SLEEP_S = 60.0


class Rounds:
    """due: of each thing its name and when it is due, Unix seconds. work: does what is due and says
    when it is due next; it raises nothing."""

    __slots__ = ("_at_a_time", "_clock", "_due", "_wake", "_what", "_work", "_working")

    def __init__(
        self,
        what: str,
        due: Callable[[], Iterable[tuple[str, float]]],
        work: Callable[[str], Awaitable[None]],
        clock: Callable[[], float],
        *,
        at_a_time: int = 16,
    ) -> None:
        self._what = what
        self._due = due
        self._work = work
        self._clock = clock
        self._at_a_time = at_a_time
        self._working: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something else may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled; what is being worked on ends by itself."""
        while True:
            self._wake.clear()
            now = self._clock()
            free = {name: at for name, at in self._due() if name not in self._working}
            for name in [name for name, at in free.items() if at <= now]:
                if len(self._working) < self._at_a_time:
                    del free[name]
                    self._working[name] = spawn(self._do(name), f"{self._what} of {name}")
            try:
                # Not wait_for, which in Python 3.11 loses a cancellation that comes with the event.
                async with asyncio.timeout(self._sleep_s(free.values(), now)):
                    await self._wake.wait()
            except TimeoutError:
                pass  # something is due

    def _sleep_s(self, due: Iterable[float], now: float) -> float:
        if len(self._working) >= self._at_a_time:
            return MAX_SLEEP_S  # the end of some work wakes us
        return min(max(min(due, default=now + MAX_SLEEP_S) - now, 0.0), MAX_SLEEP_S)

    async def _do(self, name: str) -> None:
        try:
            await self._work(name)
        finally:
            del self._working[name]
            self._wake.set()
