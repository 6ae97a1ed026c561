"""What all streams and connections of one process share: time, randomness, and the two sweeps.

No timer is armed per request. Deadlines are numbers on the streams, looked through every 20 ms
while there are streams; idle connections are looked through once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from proxy.http.date import http_date
from proxy.outbox import flush
from proxy.runtime import RuntimeValues
from proxy.stats import Stats

if TYPE_CHECKING:
    from proxy.l7.downstream import ClientConnection
    from proxy.l7.stream import Stream

DEADLINE_SWEEP_S = 0.02
SECOND_SWEEP_S = 1.0


def _then_flush(action: Callable[[], None]) -> None:
    action()
    flush()


def _is_due(stream: Stream, now: float) -> bool:
    return stream.deadline <= now or stream.try_deadline <= now or stream.over_at <= now


class Swept(Protocol):
    """Something that wants to know the time about once a second."""

    def sweep(self, now: float) -> None: ...


class Worker:
    """date: the value of a `date` header now (RFC 9110 section 5.6.7), remade every second.
    sweep_late_max_s: the longest time that the loop kept a sweep waiting. failing: the
    administrator wants health checks to fail."""

    def __init__(self, random: Random, stats: Stats, runtime: RuntimeValues | None = None) -> None:
        self._stats = stats
        self.random = random
        self.runtime = runtime or RuntimeValues()
        self.streams: set[Stream] = set()
        self.connections: set[ClientConnection] = set()
        self.swept: list[Swept] = []
        self.date = http_date(time()).encode()
        self.sweep_late_max_s = 0.0
        self._sweeping = False
        self.failing = False

    @property
    def busy(self) -> bool:
        """A request is in flight, or an answer has not left yet."""
        unsent = (one.closing or one.unsent_bytes for one in self.connections)
        return bool(self.streams) or any(unsent)

    def start(self) -> None:
        """Begins the sweeps on the running loop; they go on as long as it does."""
        asyncio.get_running_loop().call_later(SECOND_SWEEP_S, self._every_second)

    def wake(self) -> None:
        """The first stream is about to be added to `streams`: look through them from now on."""
        if not self._sweeping:
            self._sweeping = True
            loop = asyncio.get_running_loop()
            loop.call_later(DEADLINE_SWEEP_S, self._deadlines, monotonic())

    def call_later(self, delay_s: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """For what only few streams need; cancel what is returned when it is needed no more."""
        return asyncio.get_running_loop().call_later(delay_s, _then_flush, action)

    def _deadlines(self, asked: float) -> None:
        now = monotonic()
        self.sweep_late_max_s = max(self.sweep_late_max_s, now - asked - DEADLINE_SWEEP_S)
        try:
            for stream in [s for s in self.streams if _is_due(s, now)]:
                stream.on_deadline(now)
            flush()
        finally:  # whatever goes wrong with one stream, the others keep their deadlines
            self._sweeping = bool(self.streams)
            if self._sweeping:
                loop = asyncio.get_running_loop()
                loop.call_later(DEADLINE_SWEEP_S, self._deadlines, now)

    def _every_second(self) -> None:
        """Arms itself first: whatever goes wrong with one of them, the others are looked at."""
        asyncio.get_running_loop().call_later(SECOND_SWEEP_S, self._every_second)
        now = monotonic()
        self.date = http_date(time()).encode()
        for stream in list(self.streams):
            stream.manager.sweep_stream(stream, now)
        for connection in list(self.connections):
            connection.sweep(now)
        for other in self.swept:
            other.sweep(now)
        self._stats.turn(now)
        flush()
