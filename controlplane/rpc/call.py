"""One call on its stream: messages both ways until a status ends it, or the client goes.

    running -> over (`finish` has said the status, or `lost`: nobody hears it any more)

Messages that nobody takes shut the stream's window; what the client does not read makes the call
`full`, and holds up only itself. Knows no method and no service.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from controlplane.rpc import heads
from controlplane.rpc.codes import CallRefused
from controlplane.rpc.heads import Given, Head, Metadata
from controlplane.rpc.limits import Limits
from controlplane.rpc.messages import Reader, framed
from controlplane.rpc.methods import Method
from proxy.http.h2.server import ServerConnection

EACH_BYTES = 64
"""What a waiting message costs beside its own bytes."""

Take = Callable[[bytes], None]


class Link(Protocol):
    """The connection, to its calls. stuck: the client's socket takes no more for now."""

    @property
    def stuck(self) -> bool: ...

    def has_time(self) -> bool:
        """In this turn of the loop: one client has only so much of it."""

    def later(self, call: Call) -> None:
        """`go_on` is called in another turn."""

    @property
    def now(self) -> float: ...

    def leave(self, call: Call) -> None: ...
    def peer(self) -> str: ...
    def facts(self) -> dict[str, list[bytes]]: ...


class Call:
    """over: nothing more is said. cancelled: the client, or the connection, has gone first.
    heard_all: the client has ended its side. answered: our head has been sent. on_room: called when
    the call is no longer `full`. task: who handles it, None before. counted: bytes of a message
    that is not whole, as the connection has last seen them."""

    __slots__ = (
        "_codec", "_each", "_full", "_link", "_max_waiting", "_paused", "_reader", "_reading",
        "_sending", "_take", "_waiting", "_waiting_bytes", "_writing", "answered", "began_at",
        "cancelled", "counted", "deadline", "heard_all", "id", "metadata", "method", "on_over",
        "on_room", "over", "path", "task",
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
        self.on_over: list[Callable[[], None]] = []
        self.on_room: Callable[[], None] | None = None
        self._reader = Reader(limits.max_message_bytes)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._max_waiting = limits.max_waiting_bytes
        self._paused = False
        self._full = False
        self._sending = False
        self._take: Take | None = None
        self._each: asyncio.Future[None] | None = None
        self._reading: asyncio.Future[None] | None = None
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
            messages = self._reader.feed(data)
        except CallRefused as error:
            self.finish(error.code, str(error))
            return
        for message in messages:
            self._keep(message)
            self._hand_on()
        if end:
            self.end()

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
        if self._waiting_bytes > self._max_waiting and not self._paused:
            self._paused = True
            self._codec.pause(self.id)
        self._wake_reader()

    def _pop(self) -> bytes:
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message) + EACH_BYTES
        if self._paused and self._waiting_bytes * 2 <= self._max_waiting:
            self._paused = False
            self._codec.resume(self.id)
        return message

    def _wake_reader(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    async def read(self) -> bytes | None:
        """The next message, in a turn of the loop that has time for it; None when the client has
        sent all, or the call is over."""
        while True:
            if self._waiting:
                if self._link.has_time():
                    return self._pop()
                await asyncio.sleep(0)  # others have their turn, and what was said goes out
            elif self.heard_all or self.over:
                return None
            else:
                await self._more()

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
        self._each = asyncio.get_running_loop().create_future()
        self._take = take
        self.go_on()
        try:
            await self._each
        finally:
            self._take = None
            self._each = None

    def _give(self, take: Take, message: bytes) -> None:
        try:
            take(message)
        except Exception as error:
            self._take = None
            if self._each is not None and not self._each.done():
                self._each.set_exception(error)

    def _hand_on(self) -> None:
        """What has waited for room, or for somebody to take it."""
        while self._waiting and not self.full and not self.over:
            take = self._take
            if take is None:
                return
            if not self._link.has_time():
                self._link.later(self)
                return
            self._give(take, self._pop())

    def go_on(self) -> None:
        """There is another turn."""
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
        return self._full or self._link.stuck

    def begin(self, metadata: Given = ()) -> None:
        """Our head, ahead of any message."""
        if not self.over and not self.answered:
            self.answered = True
            self._codec.send_head(self.id, heads.answer_head(metadata), False)

    def send(self, message: bytes) -> None:
        """Waits for nothing: ask `full` before. Of a call that is over, nobody hears it."""
        if self.over:
            return
        self._sending = True  # nobody says anything between this and what the caller says next
        if self.answered:
            self._codec.send_data(self.id, framed(message), False)
        else:
            self.answered = True
            self._codec.send_head(self.id, heads.answer_head(), False, framed(message))
        self._sending = False
        self._full = self._codec.queued(self.id) > 0

    async def room(self) -> None:
        """Returns when the call is not full, or over."""
        while self.full and not self.over:
            self._writing = asyncio.get_running_loop().create_future()
            try:
                await self._writing
            finally:
                self._writing = None

    def has_room(self) -> None:
        """The stream's window has opened, or the client's socket takes more."""
        if self._sending:
            return
        self._full = self._codec.queued(self.id) > 0
        if self.full:
            return
        if self._writing is not None and not self._writing.done():
            self._writing.set_result(None)
        if self.on_room is not None:
            self.on_room()
        self.go_on()

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
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        self._waiting.clear()
        if self._paused:
            self._paused = False
            self._codec.resume(self.id)
        self._link.leave(self)
        self._stop_handling()
        for callback in self.on_over:
            callback()

    def _stop_handling(self) -> None:
        task = self.task
        if task is not None and not task.done() and task is not _current_task():
            task.cancel()


def _current_task() -> Any:
    return asyncio.current_task()
