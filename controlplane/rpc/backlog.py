"""What the client of one connection was told and has yet to read. It is bounded over all of the
client's connections, and whoever takes none of it for long is not waited for."""

from __future__ import annotations

from controlplane.rpc.turns import Client, Member
from controlplane.rpc.unread import Unread


class Backlog:
    """bytes: that wait, as last seen."""

    __slots__ = ("_member", "_unread", "bytes", "client")

    def __init__(self, client: Client, member: Member) -> None:
        self._member = member
        self.client = client
        self.bytes = 0
        self._unread: Unread | None = None

    @property
    def held_up(self) -> bool:
        """It is told no more."""
        return self.client.holds_up(self.bytes)

    def count(self, waiting: int) -> None:
        """So many bytes wait now."""
        if waiting == self.bytes:
            return
        more, self.bytes = waiting - self.bytes, waiting
        self.client.queue(more)
        if not waiting and self.client.crowded:
            self.client.wake(self._member)

    def hand_over(self, name: str) -> None:
        """Another client's than was thought."""
        waiting = self.bytes
        self.client.queue(-waiting)
        self.client = self.client.hand_over(self._member, name)
        self.client.queue(waiting)

    def leave(self) -> None:
        self.client.queue(-self.bytes)
        self.bytes = 0
        self.client.leave(self._member)

    def drains(self) -> None:
        """The client's socket takes more."""
        self._unread = None

    def stuck_for_s(self, now: float) -> float:
        """How long not a byte of it was taken, of a socket that takes no more."""
        if self._unread is None:
            self._unread = Unread(self.bytes, now)
        return self._unread.for_s(self.bytes, now)
