"""One gRPC call upon a connection that may carry others: messages both ways until it ends.

    open (messages both ways) -> ended (OK, or an RpcError that says why)

The window stays shut while messages wait to be taken, so a server can't fill our memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from proxy.http.grpc import MessageReader, RpcError, framed, status
from proxy.http.headers import Headers

MAX_WAITING_BYTES = 4 * 1024 * 1024
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
FINISH_TIMEOUT_S = 0.3

Metadata = Sequence[tuple[str, str]]


class Connection(Protocol):
    """What a call needs of what carries it."""

    def write(self, stream_id: int, data: bytes, end: bool) -> None: ...

    def queued(self, stream_id: int) -> int:
        """Bytes that wait for the server's window."""

    def pause(self, stream_id: int) -> None: ...

    def resume(self, stream_id: int) -> None: ...

    def leave(self, call: Call) -> None:
        """The call is of no interest any more."""

    def begin(self, path: str, metadata: Metadata, max_message_bytes: int) -> Call: ...


class Call:
    """send and receive raise RpcError once the call has ended badly."""

    def __init__(self, connection: Connection, stream_id: int, max_message_bytes: int) -> None:
        self.stream_id = stream_id
        self._connection = connection
        self._reader = MessageReader(max_message_bytes)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._answer: list[tuple[str, str]] = []
        self.ended = False
        self._error: RpcError | None = None

    # ------------------------------------------------------------------ the caller's side

    def beside(
        self,
        path: str,
        metadata: Metadata = (),
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> Call:
        """Begins another call on the same connection; it ends with the connection at the latest.
        Raises RpcError."""
        return self._connection.begin(path, metadata, max_message_bytes)

    async def send(self, message: bytes, end: bool = False) -> None:
        """Returns when the message is handed on; waits for the server's window."""
        self._raise_if_over()
        self._connection.write(self.stream_id, framed(message), end)
        while self._connection.queued(self.stream_id):
            await self._change()
            self._raise_if_over()

    async def receive(self) -> bytes | None:
        """The next message; None when the server has ended the call with OK."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self.ended:
                return None
            await self._change()
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        if self._waiting_bytes < MAX_WAITING_BYTES:
            self._connection.resume(self.stream_id)
        return message

    async def finish(self) -> None:
        """Says that nothing more comes from us, and waits a moment for the server to agree: one
        that sees the connection go first takes us for lost."""
        try:
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                await self._end()
        except (RpcError, TimeoutError):
            pass  # then it is as it is

    async def _end(self) -> None:
        self._raise_if_over()
        self._connection.write(self.stream_id, b"", True)
        while await self.receive() is not None:
            pass

    def close(self) -> None:
        """Ends the call whatever its state, and its connection if that was made for it."""
        self._connection.leave(self)
        self.over(RpcError("CANCELLED", "closed by us"))

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise self._error
        if self.ended:
            raise RpcError("UNAVAILABLE", "the server has ended the call")

    # ------------------------------------------------------------------ the connection's side

    def wake(self) -> None:
        """Something has come: there may be room to send."""
        self._changed.set()

    def head(self, status_code: int, headers: Headers) -> None:
        self._answer.append((":status", str(status_code)))
        self._note(headers)

    def data(self, data: bytes, end: bool) -> None:
        try:
            for message in self._reader.feed(data):
                self._waiting.append(message)
                self._waiting_bytes += len(message)
        except RpcError as error:
            self.over(error)
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            self._connection.pause(self.stream_id)
        if end:
            self.over(status(self._answer))

    def trailers(self, headers: Headers) -> None:
        self._note(headers)
        self.over(status(self._answer))

    def over(self, error: RpcError | None) -> None:
        """The first end counts."""
        if not self.ended:
            self.ended = True
            self._error = error
            self._changed.set()

    def _note(self, headers: Headers) -> None:
        for name, value in headers:
            self._answer.append((name.decode(), value.decode("utf-8", "replace")))


Ride = Callable[[str, str], Call | None]
"""(address, path): a call on a connection that is there already and shows our certificate; None if
there is none to that address."""


def on_foot(address: str, path: str) -> Call | None:
    """The Ride of whoever has no such connection."""
    return None
