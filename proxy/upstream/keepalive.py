"""HTTP/2 PINGs that find connections whose peer is gone (Envoy's `connection_keepalive`).

Serves both sides. A connection with keepalive has one timer: it is about to ask, or waits for the
answer. Whatever comes from the peer meanwhile shows that it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from time import monotonic

from proxy.config.model import KeepaliveSettings
from proxy.outbox import flush


class Keepalive:
    """ping: sends one with this payload. on_dead: nothing came back in time. heard_at: monotonic,
    to be set whenever bytes come."""

    __slots__ = (
        "_asking",
        "_number",
        "_on_dead",
        "_ping",
        "_random",
        "_settings",
        "_timer",
        "heard_at",
    )

    def __init__(
        self,
        settings: KeepaliveSettings,
        ping: Callable[[bytes], None],
        on_dead: Callable[[], None],
        random: Random,
    ) -> None:
        self._settings = settings
        self._ping = ping
        self._on_dead = on_dead
        self._random = random
        self._asking = False
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self.heard_at = monotonic()
        self._wait()

    def _wait(self) -> None:
        """Until it is time to ask; jittered, so that not all connections ask at once."""
        interval_s = self._settings.interval_s
        if interval_s is not None:
            late = self._random.random() * self._settings.jitter_percent / 100
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(interval_s * (1 + late), self._ask_and_flush)

    def ask_if_idle(self, now: float) -> None:
        """Before a new stream: `connection_idle_interval`."""
        idle_s = self._settings.idle_interval_s
        if idle_s is not None and now - self.heard_at > idle_s and not self._asking:
            self.ask()

    def ask(self) -> None:
        self.stop()
        self._asking = True
        self._number += 1
        self._ping(self._number.to_bytes(8, "big"))
        loop = asyncio.get_running_loop()
        asked_at = monotonic()
        self._timer = loop.call_later(self._settings.timeout_s, self._late, asked_at)

    def _ask_and_flush(self) -> None:
        self.ask()
        flush()

    def _late(self, asked_at: float) -> None:
        if self.heard_at > asked_at:
            self.on_answer()
            return
        self._timer = None
        self._on_dead()
        flush()

    def on_answer(self) -> None:
        self.stop()
        self._asking = False
        self._wait()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
