"""Whether a client pings too often (gRPC proposal A8, as gRPC's own servers keep it).

No clock: `now` in monotonic seconds.
"""

from __future__ import annotations

from typing import Final

TOO_MANY: Final = b"too_many_pings"
"""What gRPC's clients look for in a GOAWAY, to ping more seldom from then on."""


class Pings:
    """Of one connection. A ping that comes too soon is a strike; whatever we send of a call
    forgives all, as clients measure the way to us by pings while messages come."""

    __slots__ = ("_interval_s", "_last", "_max_strikes", "_strikes")

    def __init__(self, interval_s: float, max_strikes: int) -> None:
        self._interval_s = interval_s
        self._max_strikes = max_strikes
        self._last = -interval_s
        self._strikes = 0

    def forgive(self) -> None:
        self._last = -self._interval_s
        self._strikes = 0

    def too_many(self, now: float) -> bool:
        """Another has come."""
        if now - self._last < self._interval_s:
            self._strikes += 1
        self._last = now
        return self._strikes > self._max_strikes
