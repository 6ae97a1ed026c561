"""One call on its stream: messages both ways until a status ends it, or the client goes.

    running -> over (`finish` has said the status, or `lost`: nobody hears it any more)

Messages that nobody takes shut the stream's window; what the client does not read makes the call
`full`, and holds up only itself. Of a caller that has proven nothing only short messages are read,
and a longer one waits where its handler has yet to look at it. Knows no method and no service.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from controlplane.rpc import heads
from controlplane.rpc.codes import RESOURCE_EXHAUSTED, CallRefused
from controlplane.rpc.heads import Given, Head, Metadata
from controlplane.rpc.limits import Limits
from controlplane.rpc.messages import Reader, TooLarge, prefix
from controlplane.rpc.methods import Method
from controlplane.rpc.turns import MESSAGE_S, Client
from controlplane.rpc.unread import Unread
from proxy.http.h2.frames import MIN_FRAME_BYTES
from proxy.http.h2.server import ServerConnection

EACH_BYTES = 64
"""What a waiting message costs beside its own bytes."""

Take = Callable[[bytes], None]


class Link(Protocol):
    """The connection, to its calls. stuck: the client's socket takes no more for now. client: whose
    time the calls take. proven: it is known whose it is."""

    @property
    def stuck(self) -> bool: ...

    @property
    def client(self) -> Client: ...

    @property
    def proven(self) -> bool: ...

    @property
    def now(self) -> float: ...

    def leave(self, call: Call) -> None: ...

    def recount(self, call: Call) -> None:
        """Other bytes than before wait to be read, or half of a message has become a whole one."""

    def knows(self, call: Call) -> bool:
        """Its head has credentials that prove somebody."""

    def prove(self, principal: str) -> None:
        """Whose it is."""

    def peer(self) -> str: ...
    def facts(self) -> dict[str, list[bytes]]: ...


class Call:
    """over: nothing more is said. cancelled: the client, or the connection, has gone first.
    heard_all: the client has ended its side. answered: our head has been sent. on_room: called when
    the call is no longer `full`. task: who handles it, None before. counted: bytes of a message
    that is not whole, as the connection has last seen them. drained: it is over, and what was said
    has left. roomy: `has_room` is to be called in the next turn of it. unread: since when nothing
    of what waits was taken, None while nothing is known to wait."""

    __slots__ = (
        "_codec", "_each", "_full", "_held", "_limits", "_link", "_paused", "_reader", "_reading",
        "_sending", "_take", "_taken_at", "_taken_in", "_turn_comes", "_waiting", "_waiting_bytes",
        "_writing", "answered", "began_at", "cancelled", "counted", "deadline", "drained",
        "heard_all", "id", "metadata", "method", "on_drained", "on_over", "on_room", "over", "path",
        "roomy", "task", "unread",
    )  # fmt: skip

    def __init__(
        self,
        link: Link,
        codec: ServerConnection,
        stream_id: int,
        head: Head,
        method: Method,
        limits: Limits,
    ) -> None:
        self._link = link
        self._codec = codec
        self.method = method
        self.id = stream_id
        self.path = head.path
        self.metadata: Metadata = head.metadata
        self.began_at = link.now
        self.counted = 0
        self.deadline: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.over = False
        self.cancelled = False
        self.heard_all = False
        self.answered = False
        self.drained = False
        self.roomy = False
        self.unread: Unread | None = None
        self.on_over: list[Callable[[], None]] = []
        self.on_drained: list[Callable[[], None]] = []
        self.on_room: Callable[[], None] | None = None
        self._limits = limits
        self._reader = Reader(
            limits.max_message_bytes if link.proven else limits.max_unproven_bytes
        )
        self._held = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._full = False
        self._sending = False
        self._take: Take | None = None
        self._each: asyncio.Future[None] | None = None
        self._reading: asyncio.Future[None] | None = None
        self._turn_comes: asyncio.Future[None] | None = None
        self._taken_at = 0.0
        self._taken_in = -1
        self._writing: asyncio.Future[None] | None = None

    @property
    def partial_bytes(self) -> int:
        return self._reader.partial_bytes

    @property
    def unasked(self) -> bool:
        """No message has come yet, and may still."""
        return not self._waiting and not self.heard_all

    def peer(self) -> str:
        """In gRPC's words: ipv4:ADDRESS:PORT, ipv6:%5BADDRESS%5D:PORT."""
        return self._link.peer()

    def facts(self) -> dict[str, list[bytes]]:
        """What the handshake has shown, by gRPC's names."""
        return self._link.facts()

    # ------------------------------------------------------------------ what comes

    def data(self, data: bytes, end: bool) -> None:
        try:
            messages = self._read(data)
        except CallRefused as error:
            self.finish(error.code, str(error))
            return
        for message in messages:
            self._keep(message)
            self._hand_on()
        if end:
            self.end()

    def _read(self, data: bytes) -> list[bytes]:
        """The messages that are whole. Raises CallRefused."""
        reader = self._reader
        try:
            return reader.feed(data)
        except TooLarge as error:
            if reader.max_bytes == self._limits.max_message_bytes:
                raise
            if self._link.knows(self):
                reader.max_bytes = self._limits.max_message_bytes
                return reader.feed(b"")
            if not self.method.request_streaming or self._asked:
                raise self._unproven(error) from None
        self._held = True
        self._pause()
        return []

    @property
    def _asked(self) -> bool:
        """Its handler reads already, whoever the caller may be."""
        return self._reading is not None or self._take is not None

    def _unproven(self, error: CallRefused) -> CallRefused:
        why = "of a caller that has proven nothing: send a bearer token, or use mutual TLS"
        return CallRefused(error.code, f"{error} {why}")

    def believe(self, principal: str) -> None:
        """Whoever handles the call knows who its caller is, and hears also long messages."""
        if self.over:
            return
        self._link.prove(principal)
        self._reader.max_bytes = self._limits.max_message_bytes
        if self._held:
            self._held = False
            self._resume()
            self.data(b"", False)
            self._link.recount(self)

    def _refuse_held(self) -> None:
        """Its handler reads, and believes nothing."""
        if self._held:
            raise self._unproven(CallRefused(RESOURCE_EXHAUSTED, "a long message"))

    def end(self) -> None:
        """The client has said all."""
        self.heard_all = True
        self._wake_reader()
        self._end_each()

    def _keep(self, message: bytes) -> None:
        if self.over:
            return
        self._waiting.append(message)
        self._waiting_bytes += len(message) + EACH_BYTES
        if self._waiting_bytes > self._limits.max_waiting_bytes:
            self._pause()
        self._wake_reader()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._codec.pause(self.id)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._codec.resume(self.id)

    def _pop(self) -> bytes:
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message) + EACH_BYTES
        if self._waiting_bytes * 2 <= self._limits.max_waiting_bytes:
            self._resume()
        return message

    def _wake_reader(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    async def read(self) -> bytes | None:
        """The next message, in a turn of the loop that has time for it; None when the client has
        sent all, or the call is over. Raises CallRefused."""
        self._charge()
        while True:
            if self._waiting:
                if self._link.client.has_time():
                    self._link.client.spend(MESSAGE_S)
                    return self._taken()
                await self._turn()
                if self._waiting:
                    return self._taken()
            elif self._held:
                self._refuse_held()
            elif self.heard_all or self.over:
                return None
            else:
                await self._more()

    def _taken(self) -> bytes:
        client = self._link.client
        client.spend(0.0)  # so that this turn ends, also where nobody else says anything
        self._taken_at, self._taken_in = client.now(), client.turn
        return self._pop()

    def _charge(self) -> None:
        """Its handler is done with the message, as far as it was all in one turn."""
        client = self._link.client
        if self._taken_in == client.turn:
            client.spend(max(0.0, client.now() - self._taken_at - MESSAGE_S))
        self._taken_in = -1

    async def _turn(self) -> None:
        """Until there is time for a message, which is taken then."""
        self._turn_comes = asyncio.get_running_loop().create_future()
        self._link.client.later(self)
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
        while self._waiting and not self.full and not self.over:
            take = self._take
            if take is None:
                return
            if not self._link.client.has_time():
                self._link.client.later(self)
                return
            self._give(take, self._pop())

    def go_on(self) -> None:
        """Its turn has come."""
        if self._turn_comes is not None and not self._turn_comes.done():
            self._link.client.spend(MESSAGE_S)
            self._turn_comes.set_result(None)
        if self.roomy:
            self.has_room()
        else:
            self._go_on()

    def _go_on(self) -> None:
        self._hand_on()
        self._end_each()

    def _end_each(self) -> None:
        each = self._each
        if self.heard_all and not self._waiting and each is not None and not each.done():
            each.set_result(None)

    # ------------------------------------------------------------------ what is said

    @property
    def full(self) -> bool:
        """What was said has yet to leave: say no more for now."""
        return self._full or self._link.stuck or self._link.client.crowded

    def begin(self, metadata: Given = ()) -> None:
        """Our head, ahead of any message."""
        if not self.over and not self.answered:
            self.answered = True
            self._codec.send_head(self.id, heads.answer_head(metadata), False)

    def send(self, message: bytes) -> None:
        """Waits for nothing: ask `full` before. Of a call that is over, nobody hears it."""
        self.send_parts((message,))

    def send_parts(self, parts: tuple[bytes, ...]) -> None:
        """A message in parts. A long one is not copied: what other streams share waits once."""
        if self.over:
            return
        size = sum(map(len, parts))
        pieces = (prefix(size), *parts)
        if size < MIN_FRAME_BYTES:
            pieces = (b"".join(pieces),)
        self._sending = True  # nobody says anything between this and what the caller says next
        if not self.answered:
            self.answered = True
            self._codec.send_head(self.id, heads.answer_head(), False, pieces[0])
            pieces = pieces[1:]
        for piece in pieces:
            self._codec.send_data(self.id, piece, False)
        self._sending = False
        self._full = self._codec.queued(self.id) > 0
        if self._full or self._link.stuck:
            self._link.recount(self)

    async def room(self) -> None:
        """Returns when the call is not full, or over."""
        while self.full and not self.over:
            self._writing = asyncio.get_running_loop().create_future()
            try:
                await self._writing
            finally:
                self._writing = None

    def has_room(self) -> None:
        """The stream's window has opened, or the client's socket takes more, or others of the same
        client have read."""
        self.roomy = False
        if self._sending:
            return
        self._full = self._codec.queued(self.id) > 0
        if self.full:
            return
        self.unread = None
        if self._writing is not None and not self._writing.done():
            self._writing.set_result(None)
        if self.on_room is not None:
            self.on_room()
        self._go_on()

    # ------------------------------------------------------------------ ends

    def finish(self, code: int, details: str = "", metadata: Given = ()) -> None:
        """The status, behind all that was said. The first one counts. Whoever handles the call is
        stopped, if it is somebody else who ends it. Raises ValueError for bad metadata."""
        if self.over:
            return
        if self.answered:
            self._codec.send_trailers(self.id, heads.trailers(code, details, metadata))
        else:
            head = heads.only_trailers(code, details, metadata)
            self.answered = True
            self._codec.send_head(self.id, head, True)
        self._close()

    def lost(self) -> None:
        """The client has reset the stream, or its connection is gone."""
        if not self.over:
            self.cancelled = True
            self._close()

    def _close(self) -> None:
        self.over = True
        self._charge()
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        self._waiting.clear()
        self._held = False
        self._resume()
        if self._turn_comes is not None and not self._turn_comes.done():
            self._turn_comes.set_result(None)
        self._link.leave(self)
        self._stop_handling()
        for callback in self.on_over:
            callback()

    def drain(self) -> None:
        """What was said has left, or nobody will read it: nothing is kept of the call."""
        if not self.drained:
            self.drained = True
            for callback in self.on_drained:
                callback()

    def when_drained(self, callback: Callable[[], None]) -> None:
        if self.drained:
            callback()
        else:
            self.on_drained.append(callback)

    def _stop_handling(self) -> None:
        task = self.task
        if task is not None and not task.done() and task is not _current_task():
            task.cancel()


def _current_task() -> Any:
    return asyncio.current_task()
