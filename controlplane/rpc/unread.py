"""Whether somebody reads what waits for him. No clock: `now` in monotonic seconds."""

from __future__ import annotations


class Unread:
    """Of one stream, or of one connection."""

    __slots__ = ("_bytes", "_since")

    def __init__(self, waiting_bytes: int, now: float) -> None:
        self._bytes = waiting_bytes
        self._since = now

    def for_s(self, waiting_bytes: int, now: float) -> float:
        """How long not a byte of it was taken."""
        if waiting_bytes != self._bytes:
            self._bytes = waiting_bytes
            self._since = now
        return now - self._since
