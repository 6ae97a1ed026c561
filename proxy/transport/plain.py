"""A socket with nothing between it and the protocol."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from proxy.transport.base import SocketTransport

if TYPE_CHECKING:
    from proxy.transport.watch import Watch

# What a request takes. Who fills it has much to say and is read by the other, until he says less:
# a quarter of the calls.
_LITTLE_BYTES: Final = 16 * 1024
_MUCH_BYTES: Final = 256 * 1024

_read: Final[Any] = os.read
_write: Final[Any] = os.write


class PlainTransport(SocketTransport):
    __slots__ = ()

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: Watch, sock: socket.socket) -> None:
        """sock: connected and non-blocking; it is ours from here on."""
        super().__init__(loop, watch, sock, _LITTLE_BYTES)

    def _take(self) -> bytes:
        size = self._piece_bytes
        try:
            data: bytes = _read(self._fd, size)
        except (BlockingIOError, InterruptedError):
            return b""
        if not data:
            self._ended = True
        elif len(data) == size:
            self._piece_bytes = _MUCH_BYTES
        elif len(data) < _LITTLE_BYTES:
            self._piece_bytes = _LITTLE_BYTES
        return data

    def _put(self, data: bytes, sent: int) -> int:
        try:
            done: int = _write(self._fd, memoryview(data)[sent:] if sent else data)
        except (BlockingIOError, InterruptedError):
            return sent
        return sent + done

    def _end_ours(self) -> bool:
        if not self._closing:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:  # whoever reads hears of it
                pass
        return True
