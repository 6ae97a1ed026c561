"""What messages take that are not whole yet: bounded over all calls of a connection, and of a port,
as each alone may be large."""

from __future__ import annotations

from controlplane.rpc.limits import Limits, Room


class Halves:
    """Of one connection."""

    __slots__ = ("_bytes", "_limits", "_room")

    def __init__(self, limits: Limits, room: Room) -> None:
        self._limits = limits
        self._room = room
        self._bytes = 0

    def too_many(self, more: int) -> bool:
        """So many bytes more, or fewer, than before; whether that is more than there may be."""
        self._bytes += more
        self._room.held_bytes += more
        limits = self._limits
        over = self._bytes > limits.max_partial_bytes
        return more > 0 and (over or self._room.held_bytes > limits.max_held_bytes)
