"""Changes come in bursts: wait until it is quiet, but never longer than a ceiling.

`Debounce` decides, with the time as an argument; `Debouncer` is the shell that keeps the timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

HOLD_OFF_S = 0.02
CEILING_S = 0.5


@dataclass(slots=True)
class Debounce:
    """Pure: when to act after the changes seen so far."""

    hold_off_s: float = HOLD_OFF_S
    ceiling_s: float = CEILING_S
    _first: float | None = None
    _last: float = 0.0

    def note(self, now: float) -> None:
        """A change was seen."""
        self._first = now if self._first is None else self._first
        self._last = now

    def due_at(self) -> float | None:
        """When to act; None while there is nothing to do."""
        if self._first is None:
            return None
        return min(self._last + self.hold_off_s, self._first + self.ceiling_s)

    def take(self, now: float) -> bool:
        """True if it is time, once for all the changes noted."""
        due = self.due_at()
        if due is None or now < due:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        self._first = None


class Debouncer:
    """Calls `action` in the event loop after `touch`, as `Debounce` decides."""

    def __init__(self, action: Callable[[], None], debounce: Debounce | None = None) -> None:
        self._action = action
        self._debounce = debounce or Debounce()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def touch(self) -> None:
        self._debounce.note(asyncio.get_running_loop().time())
        if self._timer is None:
            self._schedule()

    async def settled(self) -> None:
        """Waits for the action that follows the changes noted so far; raises what it raised."""
        if self._timer is not None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            await done

    def cancel(self) -> None:
        """Forgets the changes noted so far."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._debounce.clear()
        for done in self._waiting:
            done.cancel()
        self._waiting.clear()

    def _schedule(self) -> None:
        due = self._debounce.due_at()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._debounce.take(asyncio.get_running_loop().time()):
            self._act()
        else:
            self._schedule()

    def _act(self) -> None:
        waiting, self._waiting = [one for one in self._waiting if not one.cancelled()], []
        try:
            self._action()
        except Exception as error:
            for done in waiting:
                done.set_exception(error)
            raise
        for done in waiting:
            done.set_result(None)
