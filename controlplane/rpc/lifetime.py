"""Whether a connection is worth keeping: does its client live, and is there anything to wait for?
No clock: `now` in monotonic seconds."""

from __future__ import annotations

from typing import Final, Literal

from controlplane.rpc.limits import Limits

Verdict = Literal["stays", "ask", "dead", "unread", "unused"]
STAYS: Final = "stays"
ASK: Final = "ask"
"""It is to be pinged."""
DEAD: Final = "dead"
"""It does not answer."""
UNREAD: Final = "unread"
"""It leaves, and does not read the rest."""
UNUSED: Final = "unused"


class Lifetime:
    """Of one connection. heard: something has come since it was last looked for. used: it has had a
    call."""

    __slots__ = ("_idle_since", "_limits", "_pinged_at", "_quiet_since", "heard", "used")

    def __init__(self, limits: Limits, now: float) -> None:
        self.heard = False
        self.used = False
        self._limits = limits
        self._quiet_since = self._idle_since = now
        self._pinged_at = 0.0

    def idle(self, now: float) -> None:
        """Its last call is over."""
        self._idle_since = now

    def verdict(self, now: float, busy: bool, leaving: bool) -> Verdict:
        """busy: it has calls. leaving: it begins no more."""
        alive = self._alive(now)
        if alive == DEAD or busy:
            return alive
        limits, idle_s = self._limits, now - self._idle_since
        if leaving:
            return UNREAD if idle_s >= limits.ping_timeout_s else alive
        return UNUSED if idle_s >= (limits.idle_s if self.used else limits.unused_s) else alive

    def _alive(self, now: float) -> Verdict:
        """Asks, if nothing was heard for long."""
        if self.heard:
            self.heard = False
            self._quiet_since, self._pinged_at = now, 0.0
        elif self._pinged_at:
            return STAYS if now - self._pinged_at < self._limits.ping_timeout_s else DEAD
        elif now - self._quiet_since >= self._limits.ping_after_s:
            self._pinged_at = now
            return ASK
        return STAYS
