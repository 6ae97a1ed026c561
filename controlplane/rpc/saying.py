"""What the server says on one call: a head, messages, a status. What the client does not read makes
the call `full`, and holds up only itself. Knows no method and no handler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controlplane.rpc import heads
from controlplane.rpc.heads import Given
from controlplane.rpc.link import Link
from controlplane.rpc.messages import prefix
from controlplane.rpc.unread import Unread
from proxy.http.h2.frames import MIN_FRAME_BYTES
from proxy.http.h2.server import ServerConnection


class Saying:
    """over: nothing more is said. answered: our head has been sent. on_room: called when the call
    is no longer `full`. unread: since when nothing of what waits was taken, None while nothing is
    known to wait."""

    __slots__ = (
        "_codec", "_full", "_link", "_sending", "_writing", "answered", "id", "on_room", "over",
        "unread",
    )  # fmt: skip

    def __init__(self, link: Link, codec: ServerConnection, stream_id: int) -> None:
        self._link = link
        self._codec = codec
        self.id = stream_id
        self.over = False
        self.answered = False
        self.unread: Unread | None = None
        self.on_room: Callable[[], None] | None = None
        self._full = False
        self._sending = False
        self._writing: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """What was said has yet to leave: say no more for now."""
        return self._full or self._link.stuck or self._link.held_up

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
            self._link.recount_said()

    def _send_status(self, code: int, details: str, metadata: Given) -> None:
        """Behind all that was said. Raises ValueError for bad metadata."""
        if self.answered:
            self._codec.send_trailers(self.id, heads.trailers(code, details, metadata))
        else:
            head = heads.only_trailers(code, details, metadata)
            self.answered = True
            self._codec.send_head(self.id, head, True)

    async def room(self) -> None:
        """Returns when the call is not full, or over."""
        while self.full and not self.over:
            self._writing = asyncio.get_running_loop().create_future()
            try:
                await self._writing
            finally:
                self._writing = None

    def _finds_room(self) -> bool:
        """Whether there is room now; who waits for it is told."""
        if self._sending:
            return False
        self._full = self._codec.queued(self.id) > 0
        if self.full:
            return False
        self.unread = None
        if self._writing is not None and not self._writing.done():
            self._writing.set_result(None)
        if self.on_room is not None:
            self.on_room()
        return True
