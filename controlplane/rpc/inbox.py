"""What has come on one call and was not taken yet: half a message, and whole ones, which shut the
stream's window when they are many. Knows no handler."""

from __future__ import annotations

from collections import deque
from typing import Final

from controlplane.rpc.messages import Reader
from proxy.http.h2.server import ServerConnection

EACH_BYTES: Final = 64
"""What a waiting message costs beside its own bytes."""


class Inbox:
    """held: a message is longer than its sender may send, and what came of it waits until he may.
    waiting: whole messages."""

    __slots__ = (
        "_bytes", "_codec", "_id", "_max_waiting_bytes", "_paused", "held", "reader", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        codec: ServerConnection,
        stream_id: int,
        max_message_bytes: int,
        max_waiting_bytes: int,
    ) -> None:
        self._codec = codec
        self._id = stream_id
        self._max_waiting_bytes = max_waiting_bytes
        self.reader = Reader(max_message_bytes)
        self.held = False
        self.waiting: deque[bytes] = deque()
        self._bytes = 0
        self._paused = False

    def keep(self, message: bytes) -> None:
        self.waiting.append(message)
        self._bytes += len(message) + EACH_BYTES
        if self._bytes > self._max_waiting_bytes:
            self._pause()

    def pop(self) -> bytes:
        message = self.waiting.popleft()
        self._bytes -= len(message) + EACH_BYTES
        if self._bytes * 2 <= self._max_waiting_bytes:
            self._resume()
        return message

    def hold(self) -> None:
        self.held = True
        self._pause()

    def release(self) -> None:
        self.held = False
        self._resume()

    def clear(self) -> None:
        """Nobody takes anything any more."""
        self.waiting.clear()
        self.release()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._codec.pause(self._id)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._codec.resume(self._id)
