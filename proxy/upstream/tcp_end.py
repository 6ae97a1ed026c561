"""One end of a relayed TCP connection, downstream or upstream: what both do with a transport.

Bytes are written as they come. What arrives before `start` is kept; so much can only be what was
read before the loop heard of our `pause_reading`. Knows no cluster and no listener.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

from proxy.outbox import Pipe

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, without waiting


class TcpEnd(asyncio.Protocol):
    """transport: None before and after its life. early: what came before `start`. `on_*` is what
    a kind of end does."""

    __slots__ = ("_early_eof", "_finishing", "_started", "early", "transport")

    def __init__(self) -> None:
        self.transport: Pipe | None = None
        self.early = b""
        self._early_eof = False
        self._started = False
        self._finishing = False

    # ------------------------------------------------------------------ what an end does

    def on_data(self, data: bytes) -> None:
        raise NotImplementedError

    def on_eof(self) -> None:
        raise NotImplementedError

    def on_writable(self, writable: bool) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Pipe, transport)
        self.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self._finishing:
            return
        if self._started:
            self.on_data(data)
        else:
            self.early += data
            self.pause_reading()

    def eof_received(self) -> bool:
        """True where the other half may live on; what is written where it can't would be lost."""
        lives_on = self.can_half_close
        if not self._started:
            self._early_eof = True
        elif not self._finishing:
            self.on_eof()
        self._finishing = self._finishing or not lives_on
        return lives_on

    def pause_writing(self) -> None:
        if not self._finishing:
            self.on_writable(False)

    def resume_writing(self) -> None:
        if not self._finishing:
            self.on_writable(True)

    # ------------------------------------------------------------------ the other end's side

    @property
    def can_half_close(self) -> bool:
        """All can but those that are gone."""
        return self.transport is not None and self.transport.can_write_eof()

    @property
    def buffered(self) -> int:
        """Bytes written to it that the peer has not been sent."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def start(self) -> None:
        """The other end is there: what came before it first, then everything."""
        self._started = True
        early, self.early = self.early, b""
        if early:
            self.on_data(early)
        if self._early_eof:
            self.on_eof()
        self.resume_reading()

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self._finishing:
            self.transport.write(data)

    def write_eof(self) -> None:
        if self.transport is not None and not self._finishing:
            self.transport.write_eof()

    def pause_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def finish(self) -> None:
        """Closes once everything is written."""
        transport = self.transport
        if transport is None or self._finishing:
            return
        self._finishing = True
        transport.close()

    def abort(self) -> None:
        """Closes now, whatever was not written."""
        self._finishing = True
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """The same, and tells the peer so: RST instead of FIN (RFC 9293 section 3.10.5)."""
        sock = self.transport.get_extra_info("socket") if self.transport is not None else None
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:  # a socket that is gone needs no reset
                pass
        self.abort()
