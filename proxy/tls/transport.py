"""TLS on a connected socket, as asyncio has transports.

    Handshake (until the peer is verified) -> TlsTransport (in its place) -> closed

OpenSSL reads and writes the socket itself, so that a record is one call each way. What the loop's
own TLS transports can't do: tell why a handshake failed, verify names within it, close one
direction and hear the other, and cost little. Knows no listener and no cluster.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.tls.failure import TlsFailed

if TYPE_CHECKING:
    from proxy.tls.session import Session
    from proxy.tls.watch import Watch

RECORDS_PER_TURN: Final = 4  # then other connections have their turn
HIGH_BYTES: Final = 64 * 1024
_READ: Final = 16 * 1024  # a record that is full: more may be there
_DRAIN_BYTES: Final = 64 * 1024
_LITTLE_BYTES: Final = 16 * 1024


def open_transports() -> list[TlsTransport]:
    """Those whose handshake is over and whose end is not."""
    return list(_open)


class TlsTransport:
    """To the protocol above it what asyncio's transports are.

    EOF of TCP without a close_notify ends the peer's direction like one (Envoy, too): whoever
    frames his messages notices what is missing, and the others could not tell anyway."""

    __slots__ = (
        "_closing",
        "_corked",
        "_ending",
        "_fd",
        "_first",
        "_full",
        "_high",
        "_late",
        "_loop",
        "_low",
        "_out",
        "_out_bytes",
        "_paused",
        "_protocol",
        "_said_eof",
        "_sent",
        "_sock",
        "_wait_s",
        "_waiting",
        "_watch",
        "session",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        watch: Watch,
        sock: socket.socket,
        session: Session,
        close_notify_wait_s: float,
        corked: bool = False,
    ) -> None:
        """sock: connected and non-blocking, of which the session knows; it is ours from here on.
        close_notify_wait_s: how long a closed connection may write none of its rest. corked: what
        the handshake has said last goes with the first answer, which is one packet less."""
        self._corked = corked
        self._loop = loop
        self._watch = watch
        self._sock = sock
        self._fd = sock.fileno()
        self.session = session
        self._wait_s = close_notify_wait_s
        self._protocol: asyncio.Protocol = _NOBODY
        self._paused = False
        self._first = not session.server
        self._said_eof = False
        self._closing = False
        self._ending = False  # a close_notify goes behind what waits
        self._late = False  # what waits does so for the others of this turn
        self._out: deque[bytes] | None = None  # what waits, for room mostly, if anything does
        self._out_bytes = 0
        self._sent = 0  # of the first of them
        self._full = False
        self._high = HIGH_BYTES
        self._low = HIGH_BYTES // 4
        self._waiting: asyncio.TimerHandle | None = None

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Puts `protocol` above. Takes the place of whoever has read the socket before.

        The first words of a client are mostly here by now; those of a server wait for the next
        turn, until whoever has asked for the connection knows that he has it."""
        self._protocol = protocol
        _open.add(self)
        try:
            protocol.connection_made(cast(asyncio.BaseTransport, self))
        except BaseException:
            self._lose(None)
            raise
        if not self._paused and not self._closing:
            self._watch.add_reader(self._fd, self._readable)
            if self.session.server:
                self._readable()

    # ------------------------------------------------------------------ the loop's side

    def _readable(self) -> None:
        session = self.session
        for _ in range(RECORDS_PER_TURN):
            try:
                plain = session.read()
            except TlsFailed as failure:
                self._break(failure)
                return
            except OSError as error:
                self._lose(error)
                return
            if plain:
                if self._first:
                    self._hear_first()
                self._give(plain)
            elif session.ended:
                self._end_of_peer()
                return
            if len(plain) < _READ or self._paused or self._closing:
                break

    def _was_reset(self) -> bool:
        """The kernel tells of it once, so that what can still be read is read here."""
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._watch.remove_reader(self._fd)
            self._loop.call_soon(self._hear_the_rest, OSError(error, os.strerror(error)))
        return bool(error)

    def _hear_the_rest(self, reset: OSError) -> None:
        """Some of it, and more in the next turn. Records that are none for us may stand between."""
        plain = b""
        for _ in range(RECORDS_PER_TURN):
            if self._closing or self._paused:
                break
            try:
                plain = self.session.read()
            except TlsFailed as failure:
                self._break(failure)
                return
            except OSError:
                break
            if plain:
                self._give(plain)
        if plain:
            self._loop.call_soon(self._hear_the_rest, reset)
        else:
            self._lose(reset)

    def _give(self, plain: bytes) -> None:
        """Whoever fails at what he hears is not left with a connection that he does not serve."""
        try:
            self._protocol.data_received(plain)
        except Exception as error:
            self._lose(error)
            raise

    def _hear_first(self) -> None:
        """By now a server has sent its tickets."""
        self._first = False
        self.session.keep()

    def _end_of_peer(self) -> None:
        if self._said_eof:
            return
        self._said_eof = True
        self._watch.remove_reader(self._fd)
        if not self._protocol.eof_received():
            self.close()

    def _writable(self) -> None:
        try:
            self._write_waiting()
        except TlsFailed as failure:
            self._break(failure)
            return
        except OSError as error:
            self._lose(error)
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
            sent = self.session.write(data, self._sent)
            self._out_bytes -= sent - self._sent
            if sent < len(data):
                self._sent = sent
                return
            self._sent = 0
            out.popleft()
        self._out = None

    def _break(self, failure: TlsFailed) -> None:
        """The peer has sent an alert, or something that is no TLS; OpenSSL has told it so."""
        if self._protocol is _NOBODY:
            return
        protocol, self._protocol = self._protocol, _NOBODY
        self._end(failure)
        protocol.connection_lost(failure)

    def _lose(self, error: Exception | None) -> None:
        """The end; the protocol hears of it in the loop's next turn, as asyncio has it."""
        if self._sock.fileno() != -1:
            self._end(error)
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, _NOBODY
        protocol.connection_lost(error)

    def _end(self, error: Exception | None) -> None:
        """The descriptor may be another connection's from here on."""
        self._closing = True
        if self._sock.fileno() == -1:
            return
        _open.discard(self)
        if self._waiting is not None:
            self._waiting.cancel()
        self._watch.forget(self._fd)
        self._out = None
        self._out_bytes = 0
        self.session.over()
        if error is None:
            self._sock.close()
        else:
            close_heard(self._sock)

    # ------------------------------------------------------------------ the protocol's side

    def write(self, data: bytes) -> None:
        if self._closing or self._ending or not data:
            return
        if self._out is not None:
            self._out.append(data)
            self._out_bytes += len(data)
            self._mind_the_mark()
            return
        if self._first and self._was_reset():
            # By a server that has refused our certificate, which it tells when our part of the
            # handshake is over (TLS 1.3). A failed write would keep OpenSSL from reading why.
            return
        if self._watch.gathers and len(data) < _LITTLE_BYTES:
            self._out = deque((data,))
            self._out_bytes = len(data)
            self._late = True
            self._watch.late.append(self._say)
            return
        try:
            sent = self.session.write(data)
        except (TlsFailed, OSError) as error:
            self._closing = True
            self._loop.call_soon(self._fail, error)
            return
        if self._corked:
            self._uncork()
        if sent < len(data):
            self._wait(data, sent)

    def _fail(self, error: TlsFailed | OSError) -> None:
        """A write did; whoever wrote was not disturbed in what he did."""
        if isinstance(error, TlsFailed):
            self._break(error)
        else:
            self._lose(error)

    def _say(self) -> None:
        """What has waited for the others of a turn."""
        self._late = False
        if self._out is None:  # it is over by now
            return
        self._writable()
        if self._corked:
            self._uncork()
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

    def _uncork(self) -> None:
        self._corked = False
        cork(self._sock, 0)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """A close_notify; what the peer still says is heard (RFC 8446 section 6.1)."""
        if not self._closing and not self._ending:
            self._ending = True
            if self._out is None:
                self._say_end()

    def _say_end(self) -> None:
        """And close, if that was asked for."""
        if not self.session.close_notify():
            self._out = deque()
            self._watch.add_writer(self._fd, self._writable)
        elif self._closing:
            self._lose(None)
        elif self._corked:
            self._uncork()

    def close(self) -> None:
        """Writes what waits, says close_notify and closes; the peer's is not waited for."""
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
        """`tls` is the session, `secured` what the access log tells of it."""
        if name == "tls":
            return self.session
        if name == "secured":
            return self.session.secured()
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


def cork(sock: socket.socket, on: int) -> None:
    """What is written waits for more, 200 ms at most (tcp(7), TCP_CORK), or no longer."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)
    except OSError:  # not TCP, or over
        pass


def close_heard(sock: socket.socket) -> None:
    """So that the peer gets our last words: what he says and nobody reads would make the kernel
    reset the connection, and that would overtake them."""
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.recv(_DRAIN_BYTES)
    except OSError:
        pass
    sock.close()


_NOBODY: Final = asyncio.Protocol()
_open: Final[set[TlsTransport]] = set()
