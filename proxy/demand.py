"""What requests and connections ask for by name that this proxy does not hold: virtual hosts,
clusters and listeners.

    asked      the first request of a name subscribes to it; all requests of a name wait together
    answered   it is in force, or does not exist: who waited goes on, a few in a turn of the loop
    forgotten  more names than the bounds: absent ones first, then those least lately used

One per proxy: filters wait here, the xDS client follows `names`. It knows neither streams nor xDS.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

Key = tuple[str, str]
"""(type URL, name) of a resource."""
Then = Callable[[bool | None], None]
"""Called once: it is in force, it does not exist, or (None) nobody has said so in time."""
_Waiting = tuple[float, Then, str]
"""Until when (monotonic seconds), what then, and the source."""
Asked = Literal["waits", "answered", "full"]

MAX_NAMES = 4096
MAX_ABSENT = 256
"""Names that do not exist: whoever makes them up must not push out those that are used."""
MAX_WAITING = 4096
MAX_OF_ONE_SOURCE = 1024
"""Requests of one client's address that wait: it leaves room for those of others."""
_AT_ONCE = 16
_EARLY_S = 0.005
"""Timers of the loop are that exact."""
_FORGOTTEN_AT_ONCE = 256
_PORT = re.compile(r":[0-9]*\Z")
_USABLE: Mapping[Key, str] = {}


class Demand:
    """call_later: (seconds, what to do); now: monotonic seconds. names: what is asked for, the
    least lately used first. tables: route tables in force whose virtual hosts are fetched, and
    whether they are known without a port. unusable: what is there and cannot be put in force, and
    why: nothing else may stand in for it.

    on_change: called when `names` has changed. used: answers which names were used of late."""

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        now: Callable[[], float],
        max_names: int = MAX_NAMES,
    ) -> None:
        self._call_later = call_later
        self._now = now
        self._max_names = max_names
        self.names: dict[Key, None] = {}
        self.tables: Mapping[str, bool] = {}
        self.unusable: Mapping[Key, str] = {}
        self.on_change: Callable[[], None] = _nothing
        self.used: Callable[[], Iterable[Key]] = tuple
        self._answers: dict[Key, bool] = {}
        self._waiting: dict[Key, list[_Waiting]] = {}
        self._waits = 0
        self._of_sources: dict[str, int] = {}
        self._ready: deque[tuple[_Waiting, bool | None]] = deque()

    def wait(self, key: Key, then: Then, timeout_s: float, source: str) -> Asked:
        """waits: `then` is going to be called. answered: nothing will come that is not here. full:
        too many requests wait already, of this source (a client's address) or of all."""
        if key in self._answers:
            return "answered"
        of_source = self._of_sources.get(source, 0)
        if self._waits >= MAX_WAITING or of_source >= MAX_OF_ONE_SOURCE:
            return "full"
        self._waits += 1
        self._of_sources[source] = of_source + 1
        self._waiting.setdefault(key, []).append((self._now() + timeout_s, then, source))
        self._call_later(timeout_s, lambda: self._expire(key))
        if key not in self.names:
            self.adopt((key,))
            self.on_change()
        return "waits"

    def adopt(self, keys: Iterable[Key]) -> None:
        """These are wanted from now on, as they were before a restart."""
        for key in keys:
            if len(self.names) >= self._max_names and key not in self.names:
                self._forget_least_used()
            self.names[key] = None

    def settle(
        self,
        tables: Mapping[str, bool],
        answers: Mapping[Key, bool],
        unusable: Mapping[Key, str] = _USABLE,
    ) -> None:
        """A configuration is in force. answers: of the names that it knew to be asked for, whether
        they are there; not of those that nobody has told it of."""
        self.tables = tables
        self.unusable = unusable
        self.answer(answers)

    def answer(self, answers: Mapping[Key, bool]) -> None:
        """More is known of what is asked for, while what is in force has not changed."""
        self._answers = dict(answers)
        for key in [key for key in self._waiting if key in answers]:
            waiting = self._waiting.pop(key)
            self._go_on(waiting, answers[key])
        absent = [key for key in self.names if answers.get(key) is False]
        if len(absent) > MAX_ABSENT:
            self._forget(absent[: len(absent) - MAX_ABSENT])
            self.on_change()

    def _expire(self, key: Key) -> None:
        """The time of some who wait for it may be over."""
        now, waiting = self._now() + _EARLY_S, self._waiting.pop(key, [])
        self._go_on((one for one in waiting if one[0] <= now), None)
        if later := [one for one in waiting if one[0] > now]:
            self._waiting[key] = later

    def _go_on(self, found: Iterable[_Waiting], answer: bool | None) -> None:
        idle = not self._ready
        self._ready.extend((one, answer) for one in found)
        if idle and self._ready:
            self._call_later(0.0, self._next_ones)

    def _next_ones(self) -> None:
        try:
            for _ in range(min(_AT_ONCE, len(self._ready))):
                (_, then, source), answer = self._ready.popleft()
                self._leave(source)
                then(answer)
        finally:  # one that fails keeps nobody else from his turn
            if self._ready:
                self._call_later(0.0, self._next_ones)

    def _leave(self, source: str) -> None:
        self._waits -= 1
        left = self._of_sources.pop(source) - 1
        if left:
            self._of_sources[source] = left

    def _forget_least_used(self) -> None:
        for key in self.used():
            if key in self.names:
                del self.names[key]
                self.names[key] = None
        absent = [key for key in self.names if self._answers.get(key) is False]
        there = (key for key in self.names if self._answers.get(key) is not False)
        self._forget((*absent, *there))

    def _forget(self, keys: Iterable[Key]) -> None:
        """The first of them that nobody waits for."""
        idle = [key for key in keys if key not in self._waiting]
        for key in idle[:_FORGOTTEN_AT_ONCE]:
            del self.names[key]
            self._answers.pop(key, None)


def host_name(table: str, host: str, without_port: bool) -> str:
    """The name of the virtual host of a request's host."""
    return f"{table}/{_PORT.sub('', host) if without_port else host}"


def _nothing() -> None:
    return None
