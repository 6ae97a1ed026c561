"""What the client says on one call, and who takes it: one message at a time (`read`), or each as it
comes (`each`), in turns of the loop that have time for it.

Of a caller that has proven nothing only short messages are read, and a longer one of a stream waits
until its handler has looked at it. Knows no service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controlplane.rpc.codes import RESOURCE_EXHAUSTED, CallRefused
from controlplane.rpc.heads import Metadata
from controlplane.rpc.inbox import Inbox
from controlplane.rpc.limits import Limits
from controlplane.rpc.link import Link
from controlplane.rpc.messages import TooLarge
from controlplane.rpc.methods import Method
from controlplane.rpc.saying import Saying
from controlplane.rpc.turns import MESSAGE_S
from proxy.http.h2.server import ServerConnection

Take = Callable[[bytes], None]


class Hearing(Saying):
    """heard_all: the client has ended its side. roomy: `has_room` is to be called in the next turn
    of it."""

    __slots__ = (
        "_each", "_inbox", "_limits", "_reading", "_take", "_taken_at", "_taken_in", "_turn_comes",
        "heard_all", "metadata", "method", "roomy",
    )  # fmt: skip

    def __init__(
        self,
        link: Link,
        codec: ServerConnection,
        stream_id: int,
        asked: tuple[Method, Metadata],
        limits: Limits,
    ) -> None:
        Saying.__init__(self, link, codec, stream_id)
        self.method, self.metadata = asked
        self.heard_all = False
        self.roomy = False
        self._limits = limits
        longest = limits.max_message_bytes if link.proven else limits.max_unproven_bytes
        self._inbox = Inbox(codec, stream_id, longest, limits.max_waiting_bytes)
        self._take: Take | None = None
        self._each: asyncio.Future[None] | None = None
        self._reading: asyncio.Future[None] | None = None
        self._turn_comes: asyncio.Future[None] | None = None
        self._taken_at = 0.0
        self._taken_in = -1

    @property
    def partial_bytes(self) -> int:
        return self._inbox.reader.partial_bytes

    @property
    def unasked(self) -> bool:
        """No message has come yet, and may still."""
        return not self._inbox.waiting and not self.heard_all

    # ------------------------------------------------------------------ what comes

    def _hear(self, data: bytes) -> None:
        """Raises CallRefused."""
        for message in self._read(data):
            if not self.over:
                self._inbox.keep(message)
                self._wake_reader()
            self._hand_on()

    def _read(self, data: bytes) -> list[bytes]:
        """The messages that are whole. Raises CallRefused."""
        reader = self._inbox.reader
        try:
            return reader.feed(data)
        except TooLarge as error:
            if reader.max_bytes == self._limits.max_message_bytes:
                raise
            if self._link.knows(self.metadata):
                reader.max_bytes = self._limits.max_message_bytes
                return reader.feed(b"")
            if not self.method.request_streaming or self._asked:
                raise _unproven(error) from None
        self._inbox.hold()
        return []

    @property
    def _asked(self) -> bool:
        """Its handler reads already, whoever the caller may be."""
        return self._reading is not None or self._take is not None

    def _hear_held(self) -> bool:
        """The caller may send long messages from now on; whether one has waited for that."""
        self._inbox.reader.max_bytes = self._limits.max_message_bytes
        if not self._inbox.held:
            return False
        self._inbox.release()
        return True

    def _refuse_held(self) -> None:
        """Its handler reads, and believes nothing."""
        if self._inbox.held:
            raise _unproven(CallRefused(RESOURCE_EXHAUSTED, "a long message"))

    def end(self) -> None:
        """The client has said all."""
        self.heard_all = True
        self._wake_reader()
        self._end_each()

    def _hear_no_more(self) -> None:
        self._charge()
        self._inbox.clear()
        if self._turn_comes is not None and not self._turn_comes.done():
            self._turn_comes.set_result(None)

    # ------------------------------------------------------------------ one at a time

    def _wake_reader(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    async def read(self) -> bytes | None:
        """The next message, in a turn of the loop that has time for it; None when the client has
        sent all, or the call is over. Raises CallRefused."""
        self._charge()
        while True:
            if self._inbox.waiting:
                if self._has_time():
                    self._link.client.spend(MESSAGE_S)
                    return self._taken()
                await self._turn()
                if self._inbox.waiting:
                    return self._taken()
            elif self._inbox.held:
                self._refuse_held()
            elif self.heard_all or self.over:
                return None
            else:
                await self._more()

    def _has_time(self) -> bool:
        return not self._link.held_up and self._link.client.has_time()

    def _taken(self) -> bytes:
        client = self._link.client
        client.spend(0.0)  # so that this turn ends, also where nobody else says anything
        self._taken_at, self._taken_in = client.now(), client.turn
        return self._inbox.pop()

    def _charge(self) -> None:
        """Its handler is done with the message, as far as it was all in one turn."""
        client = self._link.client
        if self._taken_in == client.turn:
            client.spend(max(0.0, client.now() - self._taken_at - MESSAGE_S))
        self._taken_in = -1

    async def _turn(self) -> None:
        """Until there is time for a message, which is taken then."""
        self._turn_comes = asyncio.get_running_loop().create_future()
        self._wait_for_turn()
        try:
            await self._turn_comes
        finally:
            self._turn_comes = None

    async def _more(self) -> None:
        """Until there is a message, or the end."""
        self._reading = asyncio.get_running_loop().create_future()
        try:
            await self._reading
        finally:
            self._reading = None

    # ------------------------------------------------------------------ each as it comes

    async def each(self, take: Take) -> None:
        """Hands every message to `take` as it comes, in the turn of the loop that brings it if that
        has time, until the client has sent all; but none while the call is `full`. Raises what
        `take` raises."""
        if self.over:
            return
        self._refuse_held()
        self._each = asyncio.get_running_loop().create_future()
        self._take = take
        self._go_on()
        try:
            await self._each
        finally:
            self._take = None
            self._each = None

    def _give(self, take: Take, message: bytes) -> None:
        client = self._link.client
        began_at = client.now()
        try:
            take(message)
        except Exception as error:
            self._take = None
            if self._each is not None and not self._each.done():
                self._each.set_exception(error)
        client.spend(client.now() - began_at)

    def _hand_on(self) -> None:
        """What has waited for room, or for somebody to take it."""
        while self._inbox.waiting and not self.full and not self.over:
            take = self._take
            if take is None:
                return
            if not self._link.client.has_time():
                self._wait_for_turn()
                return
            self._give(take, self._inbox.pop())

    def _end_each(self) -> None:
        each = self._each
        if self.heard_all and not self._inbox.waiting and each is not None and not each.done():
            each.set_result(None)

    # ------------------------------------------------------------------ turns

    def _wait_for_turn(self) -> None:
        """Not in the line while it is held up: then it is told when that is over (`roomy`)."""
        if not self._link.held_up:
            self._link.client.later(self)

    def go_on(self) -> None:
        """Its turn has come."""
        comes = self._turn_comes
        if comes is not None and not comes.done() and not self._link.held_up:
            self._link.client.spend(MESSAGE_S)
            comes.set_result(None)
        if self.roomy:
            self.has_room()
        else:
            self._go_on()

    def has_room(self) -> None:
        """The stream's window has opened, or the client's socket takes more, or others of the same
        client have read."""
        self.roomy = False
        if self._finds_room():
            self._go_on()

    def _go_on(self) -> None:
        self._hand_on()
        self._end_each()


def _unproven(error: CallRefused) -> CallRefused:
    why = "of a caller that has proven nothing: send a bearer token, or use mutual TLS"
    return CallRefused(error.code, f"{error} {why}")
