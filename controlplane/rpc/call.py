"""One call on its stream: messages both ways until a status ends it, or the client goes.

    running -> over (`finish` has said the status, or `lost`: nobody hears it any more)

Knows no method and no service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from controlplane.rpc.codes import CallRefused
from controlplane.rpc.heads import Given, Head
from controlplane.rpc.hearing import Hearing
from controlplane.rpc.limits import Limits
from controlplane.rpc.link import Link
from controlplane.rpc.methods import Method
from proxy.http.h2.server import ServerConnection


class Call(Hearing):
    """cancelled: the client, or the connection, has gone first. task: who handles it, None before.
    counted: bytes of a message that is not whole, as the connection has last seen them. drained: it
    is over, and what was said has left."""

    __slots__ = (
        "began_at", "cancelled", "counted", "deadline", "drained", "on_drained", "on_over", "path",
        "task",
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
        Hearing.__init__(self, link, codec, stream_id, (method, head.metadata), limits)
        self.path = head.path
        self.began_at = link.now
        self.counted = 0
        self.deadline: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False
        self.drained = False
        self.on_over: list[Callable[[], None]] = []
        self.on_drained: list[Callable[[], None]] = []

    def peer(self) -> str:
        """In gRPC's words: ipv4:ADDRESS:PORT, ipv6:%5BADDRESS%5D:PORT."""
        return self._link.peer()

    def facts(self) -> dict[str, list[bytes]]:
        """What the handshake has shown, by gRPC's names."""
        return self._link.facts()

    # ------------------------------------------------------------------ what comes

    def data(self, data: bytes, end: bool) -> None:
        try:
            self._hear(data)
        except CallRefused as error:
            self.finish(error.code, str(error))
            return
        if end:
            self.end()

    def believe(self, principal: str) -> None:
        """Whoever handles the call knows who its caller is, and hears also long messages."""
        if self.over:
            return
        self._link.prove(principal)
        if self._hear_held():
            self.data(b"", False)
            self._link.recount_heard(self)

    # ------------------------------------------------------------------ ends

    def finish(self, code: int, details: str = "", metadata: Given = ()) -> None:
        """The status, behind all that was said. The first one counts. Whoever handles the call is
        stopped, if it is somebody else who ends it. Raises ValueError for bad metadata."""
        if not self.over:
            self._send_status(code, details, metadata)
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
        self._hear_no_more()
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
