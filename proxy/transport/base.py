"""A connected socket as asyncio has transports, with nothing of the loop's own beneath it.

    begin -> data_received ... -> each direction ends by itself -> connection_lost

What stands between the socket and the protocol, if anything does, is for who inherits from here:
to take, to put, and to end. Knows no listener and no cluster.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from proxy.transport.watch import Watch

PIECES_PER_TURN: Final = 4  # then other connections have their turn
HIGH_BYTES: Final = 64 * 1024
_LITTLE_BYTES: Final = 16 * 1024


class SocketTransport:
    """To the protocol above it what asyncio's transports are.

    _piece_bytes: where the next piece is as long as that, more may be there. _ended: the peer will
    say nothing more."""

    __slots__ = (
        "_closing",
        "_ended",
        "_ending",
        "_fd",
        "_full",
        "_high",
        "_late",
        "_loop",
        "_low",
        "_out",
        "_out_bytes",
        "_paused",
        "_piece_bytes",
        "_protocol",
        "_said_eof",
        "_sent",
        "_sock",
        "_wait_s",
        "_waiting",
        "_watch",
        "_why",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        watch: Watch,
        sock: socket.socket,
        piece_bytes: int,
        wait_s: float = math.inf,
    ) -> None:
        """sock: connected and non-blocking; it is ours from here on. wait_s: how long a closed
        connection may write none of its rest."""
        self._loop = loop
        self._watch = watch
        self._sock = sock
        self._fd = sock.fileno()  # -1 when it is over
        self._piece_bytes = piece_bytes
        self._wait_s = wait_s
        self._protocol: asyncio.Protocol = NOBODY
        self._paused = False
        self._ended = False
        self._said_eof = False
        self._closing = False
        self._ending = False  # our end goes behind what waits
        self._late = False  # what waits does so for the others of this turn
        self._out: deque[bytes] | None = None  # what waits, for room mostly, if anything does
        self._out_bytes = 0
        self._sent = 0  # of the first of them
        self._full = False
        self._high = HIGH_BYTES
        self._low = HIGH_BYTES // 4
        self._waiting: asyncio.TimerHandle | None = None
        self._why: Exception | None = None

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Puts `protocol` above. Takes the place of whoever has read the socket before."""
        self._protocol = protocol
        try:
            protocol.connection_made(cast(asyncio.BaseTransport, self))
        except BaseException:
            self._lose(None)
            raise
        if not self._paused and not self._closing:
            self._watch.add_reader(self._fd, self._readable)

    # ------------------------------------------------------------------ for who inherits

    def _take(self) -> bytes:
        """What there is next; nothing when there is nothing for the protocol, or when `_ended` is
        set. Raises OSError."""
        raise NotImplementedError

    def _put(self, data: bytes, sent: int) -> int:
        """How much of `data` is sent now, where `sent` bytes were. Raises OSError."""
        raise NotImplementedError

    def _end_ours(self) -> bool:
        """Our direction is over. False: there is no room to say it, so it must be said again."""
        raise NotImplementedError

    def _fail(self, error: OSError) -> None:
        """The socket did, or what stands above it."""
        self._lose(error)

    def _shut(self, error: Exception | None) -> None:
        """Closes the socket. error: why, if it was not meant."""
        self._sock.close()

    # ------------------------------------------------------------------ the loop's side

    def _readable(self) -> None:
        for _ in range(PIECES_PER_TURN):
            size = self._piece_bytes
            try:
                plain = self._take()
            except OSError as error:
                self._fail(error)
                return
            if plain:
                self._give(plain)
            elif self._ended:
                self._end_of_peer()
                return
            else:
                self._watch.missed = True
            if len(plain) < size or self._paused or self._closing:
                break

    def _give(self, plain: bytes) -> None:
        """Whoever fails at what he hears is not left with a connection that he does not serve."""
        try:
            self._protocol.data_received(plain)
        except Exception as error:
            self._lose(error)
            raise

    def _end_of_peer(self) -> None:
        if self._said_eof:
            return
        self._said_eof = True
        try:
            if not self._protocol.eof_received():
                self.close()
        except Exception as error:
            self._lose(error)
            raise
        finally:
            self._watch.remove_reader(self._fd)  # it would be told of without end

    def _writable(self) -> None:
        try:
            self._write_waiting()
        except OSError as error:
            self._fail(error)
            return
        if self._out is None:
            self._watch.remove_writer(self._fd)
            if self._ending:
                self._say_end()
        if self._full and self._out_bytes <= self._low:
            self._full = False
            self._protocol.resume_writing()

    def _write_waiting(self) -> None:
        out = self._out
        while out:
            data = out[0]
            sent = self._put(data, self._sent)
            self._out_bytes -= sent - self._sent
            if sent < len(data):
                self._sent = sent
                return
            self._sent = 0
            out.popleft()
        self._out = None

    def _lose(self, error: Exception | None) -> None:
        """The end; the protocol hears of it when all of this turn were heard."""
        if self._fd != -1:
            self._end(error)
            self._why = error
            self._watch.soon(self._lost)

    def _lost(self) -> None:
        protocol, self._protocol = self._protocol, NOBODY
        protocol.connection_lost(self._why)

    def _end(self, error: Exception | None) -> None:
        """The descriptor may be another connection's from here on."""
        self._closing = True
        if self._fd == -1:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._watch.forget(self._fd)
        self._fd = -1
        self._out = None
        self._out_bytes = 0
        self._shut(error)

    # ------------------------------------------------------------------ the protocol's side

    def write(self, data: bytes) -> None:
        if self._closing or self._ending or not data:
            return
        if self._out is not None:
            self._out.append(data)
            self._out_bytes += len(data)
            self._mind_the_mark()
            return
        if self._watch.gathers and len(data) < _LITTLE_BYTES:
            self._out = deque((data,))
            self._out_bytes = len(data)
            self._late = True
            self._watch.late.append(self._say)
            return
        try:
            sent = self._put(data, 0)
        except OSError as error:
            self._closing = True
            self._loop.call_soon(self._fail, error)  # who wrote is not disturbed in what he does
            return
        if sent < len(data):
            self._wait(data, sent)

    def _say(self) -> None:
        """What has waited for the others of a turn."""
        self._late = False
        if self._out is None:  # it is over by now
            return
        self._writable()
        if self._out is not None:
            self._watch.add_writer(self._fd, self._writable)
            if self._closing:
                self._stop_waiting_soon()

    def _wait(self, data: bytes, sent: int) -> None:
        self._out = deque((data,))
        self._sent = sent
        self._out_bytes = len(data) - sent
        self._watch.add_writer(self._fd, self._writable)
        self._mind_the_mark()

    def _mind_the_mark(self) -> None:
        if not self._full and self._out_bytes > self._high:
            self._full = True
            self._protocol.pause_writing()

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Behind what waits; what the peer still says is heard."""
        if not self._closing and not self._ending:
            self._ending = True
            if self._out is None:
                self._say_end()

    def _say_end(self) -> None:
        """And close, if that was asked for."""
        if not self._end_ours():
            self._out = deque()
            self._watch.add_writer(self._fd, self._writable)
        elif self._closing:
            self._lose(None)

    def close(self) -> None:
        """Writes what waits, ends our direction and closes; the peer's is not waited for."""
        if self._closing:
            return
        self._closing = True
        if self._out is None and self._ending:
            self._lose(None)
            return
        self._ending = True
        if self._out is None:
            self._say_end()
        if self._out is not None:
            if not self._said_eof:
                self._watch.remove_reader(self._fd)
            if not self._late:
                self._stop_waiting_soon()

    def _stop_waiting_soon(self, before: int | None = None) -> None:
        """A peer that reads nothing must not keep a connection that is over; one that reads slowly
        gets all. before: how much waited last time."""
        size = self._out_bytes
        if self._wait_s == math.inf:
            return
        if before is None or size < before:
            self._waiting = self._loop.call_later(self._wait_s, self._stop_waiting_soon, size)
        else:
            self._lose(None)

    def abort(self) -> None:
        self._lose(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if self._paused or self._closing:  # whoever closes stops reading
            return
        self._paused = True
        if not self._said_eof:
            self._watch.remove_reader(self._fd)

    def resume_reading(self) -> None:
        if self._paused and not self._closing and not self._said_eof:
            self._watch.add_reader(self._fd, self._readable)
        self._paused = False

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else HIGH_BYTES if low is None else 4 * low
        self._low = low if low is not None else self._high // 4
        self._mind_the_mark()

    def get_write_buffer_size(self) -> int:
        return self._out_bytes

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self._sock
        try:
            if name == "peername":
                return self._sock.getpeername()
            if name == "sockname":
                return self._sock.getsockname()
        except OSError:  # it is closed
            pass
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol


NOBODY: Final = asyncio.Protocol()
