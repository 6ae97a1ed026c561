"""How the loop's time is shared among clients: so much of each turn is for what they say, and one
client has no more than its share of that.

A client is whoever its connections have proven to be, or an address where they have proven nothing;
how many connections it has changes nothing. What has no time waits in its client's line, and the
clients that wait take turns. Who does not read what it was told is not heard either: connections
that have something to read, and all of the client where it is very much. Knows neither the loop nor
a clock: both are given.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

log = logging.getLogger("weft.controlplane.rpc")

TURN_S: Final = 0.005
"""Of one turn of the loop, for what one client says on its calls."""
ALL_S: Final = 0.020
"""... and for what all of them say."""
MESSAGE_S: Final = 0.00025
"""What a message is taken to cost at least: its handler may wait before the work is done."""
JAM: Final = 2
"""So many times what a client may have waiting to be read, where some of it is read."""


class Waiter(Protocol):
    """A call. roomy: there is room for what it says, after there was none."""

    roomy: bool

    def go_on(self) -> None:
        """Its turn has come."""


class Member(Protocol):
    """A connection, to its client."""

    def waiters(self) -> Iterable[Waiter]:
        """Its calls."""


class Turns:
    """Of one server. number: of the turn, counted while anybody takes time. left_s: of this one,
    below 0 where somebody took more than there was: the turns to come have less then."""

    __slots__ = (
        "_begun",
        "_clients",
        "_clock",
        "_line",
        "_max_queued",
        "_soon",
        "left_s",
        "number",
    )

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float],
        max_queued_bytes: int,
    ) -> None:
        """soon: calls in the next turn of the loop. clock: seconds, also within a turn."""
        self._clock = clock
        self.number = 0
        self.left_s = ALL_S
        self._soon = soon
        self._max_queued = max_queued_bytes
        self._begun = False
        self._line: deque[Client] = deque()
        self._clients: dict[str, Client] = {}

    def client(self, name: str, member: Member) -> Client:
        """Whose connection `member` is from now on, until it leaves."""
        found = self._clients.get(name)
        if found is None:
            found = self._clients[name] = Client(self, name, self._max_queued)
        found.members[member] = None
        return found

    def now(self) -> float:
        return self._clock()

    def forget(self, client: Client) -> None:
        """Its last connection is gone."""
        del self._clients[client.name]

    def spend(self, took_s: float) -> None:
        self.left_s -= took_s
        self._begin()

    def line_up(self, client: Client) -> None:
        self._line.append(client)
        self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._soon(self._next)

    def _next(self) -> None:
        self._begun = False
        self.number += 1
        self.left_s = min(ALL_S, self.left_s + ALL_S)
        for _ in range(len(self._line)):
            if self.left_s <= 0:
                break
            client = self._line.popleft()
            client.serve()
            if client.in_line:
                self._line.append(client)
        if self._line:
            self._begin()


class Client:
    """members: its connections. in_line: some of its calls wait for their turns. crowded: more of
    what it was told waits to be read than one client may have waiting: connections that have read
    all go on. jammed: JAM times as much, and none does."""

    __slots__ = (
        "_left_s", "_line", "_max_queued", "_queued", "_serving", "_turn", "_turns", "crowded",
        "in_line", "jammed", "members", "name",
    )  # fmt: skip

    def __init__(self, turns: Turns, name: str, max_queued_bytes: int) -> None:
        self.name = name
        self.members: dict[Member, None] = {}
        self.crowded = False
        self.jammed = False
        self.in_line = False
        self._turns = turns
        self._turn = turns.number
        self._left_s = TURN_S
        self._line: deque[Waiter] = deque()
        self._serving = False
        self._max_queued = max_queued_bytes
        self._queued = 0

    def now(self) -> float:
        """Seconds, also within a turn."""
        return self._turns.now()

    @property
    def turn(self) -> int:
        return self._turns.number

    def leave(self, member: Member) -> None:
        del self.members[member]
        if not self.members:
            self._turns.forget(self)

    def hand_over(self, member: Member, name: str) -> Client:
        """Whose connection it is from now on; what waits of it waits there."""
        to = self._turns.client(name, member)
        if to is not self:
            self.leave(member)
            if self._line or self.crowded:
                gone = set(member.waiters())
                self._line = deque(one for one in self._line if one not in gone)
                to.wake(member)
        return to

    # ------------------------------------------------------------------ time

    def has_time(self) -> bool:
        """In this turn, for another message; whoever waits already comes first."""
        if self.jammed or (self._line and not self._serving):
            return False
        return self._left() > 0 and self._turns.left_s > 0

    def _left(self) -> float:
        turn = self._turns.number
        if turn != self._turn:
            self._left_s = min(TURN_S, self._left_s + (turn - self._turn) * TURN_S)
            self._turn = turn
        return self._left_s

    def spend(self, took_s: float) -> None:
        self._left_s = self._left() - took_s
        self._turns.spend(took_s)

    def later(self, call: Waiter) -> None:
        """Its `go_on` is called in a turn that has time for it."""
        self._line.append(call)
        self._line_up()

    def _line_up(self) -> None:
        if self._line and not self.in_line and not self.jammed:
            self.in_line = True
            self._turns.line_up(self)

    def serve(self) -> None:
        """Those of its calls that wait, as long as there is time."""
        self._serving = True
        try:
            for _ in range(len(self._line)):
                if not self._line or not self.has_time():
                    break
                self._serve(self._line.popleft())
        finally:
            self._serving = False
            self.in_line = bool(self._line) and not self.jammed

    def _serve(self, call: Waiter) -> None:
        """Whatever it raises is its own affair: others have their turns."""
        try:
            call.go_on()
        except Exception:
            log.exception("a turn failed client=%s", self.name)

    # ------------------------------------------------------------------ what it does not read

    def holds_up(self, queued: int) -> bool:
        """Whether a connection with so many bytes to read is told no more for now."""
        return self.jammed or (self.crowded and queued > 0)

    def queue(self, more: int) -> None:
        """Bytes that wait to be read, more or fewer than before."""
        self._queued += more
        if more > 0:
            self._fill()
        elif self.crowded:
            self._empty()

    def _fill(self) -> None:
        if not self.crowded and self._queued > self._max_queued:
            self.crowded = True
            log.warning(
                "client=%s does not read: %d bytes wait for it, it is told no more for now",
                self.name,
                self._queued,
            )
        self.jammed = self.jammed or self._queued > JAM * self._max_queued

    def _empty(self) -> None:
        was_jammed = self.jammed
        self.jammed = was_jammed and self._queued > self._max_queued
        self.crowded = self._queued * 2 > self._max_queued
        if was_jammed != self.jammed or not self.crowded:
            for member in self.members:
                self._wake(member)
            self._line_up()

    def wake(self, member: Member) -> None:
        """There is room for what its calls say."""
        self._wake(member)
        self._line_up()

    def _wake(self, member: Member) -> None:
        for call in member.waiters():
            call.roomy = True
            self._line.append(call)
