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
from typing import TYPE_CHECKING, Any, Final

from proxy.tls.failure import TlsFailed
from proxy.transport.base import NOBODY, PIECES_PER_TURN, SocketTransport

if TYPE_CHECKING:
    from proxy.tls.session import Session
    from proxy.transport.watch import Watch

_RECORD_BYTES: Final = 16 * 1024
_DRAIN_BYTES: Final = 64 * 1024


def open_transports() -> list[TlsTransport]:
    """Those whose handshake is over and whose end is not."""
    return list(_open)


class TlsTransport(SocketTransport):
    """EOF of TCP without a close_notify ends the peer's direction like one (Envoy, too): whoever
    frames his messages notices what is missing, and the others could not tell anyway."""

    __slots__ = ("_corked", "_first", "session")

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
        super().__init__(loop, watch, sock, _RECORD_BYTES, close_notify_wait_s)
        self._corked = corked
        self.session = session
        self._first = not session.server

    def begin(self, protocol: asyncio.Protocol) -> None:
        """The first words of a client are mostly here by now; those of a server wait for the next
        turn, until whoever has asked for the connection knows that he has it."""
        _open.add(self)
        super().begin(protocol)
        if self.session.server and not self._paused and not self._closing:
            self._readable()

    # ------------------------------------------------------------------ the loop's side

    def _take(self) -> bytes:
        session = self.session
        plain = session.read()
        if not plain:
            self._ended = session.ended
        elif self._first:
            self._hear_first()
        return plain

    def _hear_first(self) -> None:
        """By now a server has sent its tickets."""
        self._first = False
        self.session.keep()

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
        for _ in range(PIECES_PER_TURN):
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

    def _fail(self, error: OSError) -> None:
        if isinstance(error, TlsFailed):
            self._break(error)
        else:
            self._lose(error)

    def _break(self, failure: TlsFailed) -> None:
        """The peer has sent an alert, or something that is no TLS; OpenSSL has told it so."""
        if self._protocol is NOBODY:
            return
        protocol, self._protocol = self._protocol, NOBODY
        self._end(failure)
        protocol.connection_lost(failure)

    def _shut(self, error: Exception | None) -> None:
        _open.discard(self)
        self.session.over()
        if error is None:
            self._sock.close()
        else:
            close_heard(self._sock)

    # ------------------------------------------------------------------ the protocol's side

    def write(self, data: bytes) -> None:
        # A server that has refused our certificate tells it when our part of the handshake is over
        # (TLS 1.3). A failed write would keep OpenSSL from reading why.
        if self._first and self._out is None and not self._closing and self._was_reset():
            return
        super().write(data)

    def _say(self) -> None:
        if self._first and not self._closing and self._was_reset():
            return  # as in `write`
        super()._say()

    def _put(self, data: bytes, sent: int) -> int:
        done = self.session.write(data, sent)
        if self._corked:
            self._uncork()
        return done

    def _end_ours(self) -> bool:
        """A close_notify (RFC 8446 section 6.1)."""
        said = self.session.close_notify()
        if said and self._corked and not self._closing:
            self._uncork()
        return said

    def _uncork(self) -> None:
        self._corked = False
        cork(self._sock, 0)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`tls` is the session, `secured` what the access log tells of it."""
        if name == "tls":
            return self.session
        if name == "secured":
            return self.session.secured()
        return super().get_extra_info(name, default)


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


_open: Final[set[TlsTransport]] = set()
