"""TLS between an asyncio transport and the protocol that uses it.

    Handshake (behind the raw transport) -> TlsTransport (in its place) -> closed

What the loop's own TLS transports can't do: tell why a handshake failed, verify names within it,
close one direction and hear the other, and cost little. Knows no listener and no cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from proxy.tls.failure import TIMEOUT, TlsFailed

if TYPE_CHECKING:
    from proxy.tls.session import Session


def open_transports() -> list[TlsTransport]:
    """Those whose handshake is over and whose end is not."""
    return list(_open)


class TlsTransport(asyncio.Protocol):
    """A transport to the protocol above it, a protocol to the raw transport beneath.

    EOF of TCP without a close_notify ends the peer's direction like one (Envoy, too): whoever
    frames his messages notices what is missing, and the others could not tell anyway."""

    __slots__ = (
        "_closing",
        "_first",
        "_held",
        "_loop",
        "_paused",
        "_protocol",
        "_raw",
        "_said_eof",
        "_unread",
        "_wait_s",
        "_waiting",
        "session",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        raw: asyncio.Transport,
        session: Session,
        close_notify_wait_s: float,
        tickets: bytes = b"",
    ) -> None:
        """close_notify_wait_s: how long a closed connection may write none of its rest. tickets:
        they go with the first answer, which is one packet less (BoringSSL)."""
        self._held = tickets
        self._loop = loop
        self._raw = raw
        self.session = session
        self._wait_s = close_notify_wait_s
        self._protocol: asyncio.Protocol = self
        self._paused = False
        self._first = not session.server
        self._unread = True  # what came with the handshake was not looked at yet
        self._said_eof = False
        self._closing = False
        self._waiting: asyncio.TimerHandle | None = None

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Puts `protocol` above, and hands it what is here already."""
        self._protocol = protocol
        _open.add(self)
        protocol.connection_made(cast(asyncio.BaseTransport, self))
        self._read_rest()

    # ------------------------------------------------------------------ the loop's side

    def data_received(self, data: bytes) -> None:
        try:
            plain = self.session.decrypt(data)
        except TlsFailed as failure:
            self._break(failure)
            return
        if plain and not self._closing:
            if self._first:
                self._hear_first()
            self._protocol.data_received(plain)
        if not plain or self.session.ended:
            self._protocol_only()

    def _protocol_only(self) -> None:
        """No plaintext came, so TLS itself had something to say."""
        words = self._held + self.session.taken()
        self._held = b""
        if words:
            self._raw.write(words)
        if self.session.ended and not self._said_eof:
            self._end_of_peer()

    def _read_rest(self) -> None:
        if not self._unread or self._paused or self._closing:
            return
        self._unread = False
        try:
            plain = self.session.rest()
        except TlsFailed as failure:
            self._break(failure)
            return
        if plain:
            if self._first:
                self._hear_first()
            self._protocol.data_received(plain)
        if self.session.ended:
            self._end_of_peer()

    def _hear_first(self) -> None:
        """By now a server has sent its tickets."""
        self._first = False
        self.session.keep()

    def _end_of_peer(self) -> None:
        self._said_eof = True
        if self._closing:
            self._raw.close()
        elif not self._protocol.eof_received():
            self.close()

    def eof_received(self) -> bool:
        if not self._said_eof:
            self._end_of_peer()
        return not self._raw.is_closing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        _open.discard(self)
        self._closing = True
        protocol, self._protocol = self._protocol, _NOBODY
        protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def _break(self, failure: TlsFailed) -> None:
        """The peer has sent an alert, or something that is no TLS."""
        words = self.session.taken()
        if words and not self._raw.is_closing():
            self._raw.write(words)
        self._closing = True
        protocol, self._protocol = self._protocol, _NOBODY
        self._raw.close()
        self._stop_waiting_soon()
        protocol.connection_lost(failure)

    # ------------------------------------------------------------------ the protocol's side

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            words = self.session.encrypt(data)
        except TlsFailed as failure:
            self._loop.call_soon(self._break, failure)
            return
        if self._held:
            words = self._held + words
            self._held = b""
        self._raw.write(words)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """A close_notify; what the peer still says is heard (RFC 8446 section 6.1)."""
        if not self._closing:
            self._raw.write(self._last_words())

    def close(self) -> None:
        """Writes what waits, says close_notify and closes; the peer's is not waited for."""
        if self._closing:
            return
        self._closing = True
        words = self._last_words()
        if words:
            self._raw.write(words)
        self._raw.close()
        self._stop_waiting_soon()

    def _last_words(self) -> bytes:
        words = self._held + self.session.close_notify()
        self._held = b""
        return words

    def _stop_waiting_soon(self, before: int | None = None) -> None:
        """A peer that reads nothing must not keep a connection that is over; one that reads slowly
        gets all. before: how much waited last time."""
        size = self._raw.get_write_buffer_size()
        if size and (before is None or size < before):
            self._waiting = self._loop.call_later(self._wait_s, self._stop_waiting_soon, size)
        elif size:
            self._raw.abort()

    def abort(self) -> None:
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        if not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if not self._raw.is_closing():
            self._raw.resume_reading()
        if self._unread:
            self._loop.call_soon(self._read_rest)

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`tls` is the session, `secured` what the access log tells of it."""
        if name == "tls":
            return self.session
        if name == "secured":
            return self.session.secured()
        return self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol


_NOBODY = asyncio.Protocol()
_open: set[TlsTransport] = set()

OnDone = Callable[[TlsTransport], asyncio.Protocol | None]


class Handshake(asyncio.Protocol):
    """finished: set to None when the connection is established and `on_done` has answered who
    uses it; else to why not. Whoever gives up calls `abort`."""

    __slots__ = ("_loop", "_on_done", "_raw", "_session", "_timer", "_wait_s", "finished")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        session: Session,
        on_done: OnDone,
        close_notify_wait_s: float,
        timeout_s: float | None = None,
    ) -> None:
        """on_done: the peer is verified; who uses the connection, or None to drop it.
        timeout_s: how long it may take; None: whoever waits says so."""
        self._loop = loop
        self._session = session
        self._on_done = on_done
        self._wait_s = close_notify_wait_s
        self._raw: asyncio.Transport | None = None
        self.finished: asyncio.Future[TlsFailed | None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        if timeout_s is not None:
            self._timer = loop.call_later(timeout_s, self._time_out, timeout_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._shake(b"")

    def data_received(self, data: bytes) -> None:
        self._shake(data)

    def _shake(self, data: bytes) -> None:
        raw = self._raw
        if raw is None:  # it has failed
            return
        try:
            done = self._session.shake(data)
        except TlsFailed as failure:
            self._fail(failure)
            return
        words = self._session.taken()
        if done and self._session.only_tickets_left:
            self._step_aside(raw, words)
            return
        if words:
            raw.write(words)
        if done:
            self._step_aside(raw, b"")

    def _step_aside(self, raw: asyncio.Transport, tickets: bytes) -> None:
        self._raw = None
        transport = TlsTransport(self._loop, raw, self._session, self._wait_s, tickets)
        try:
            protocol = self._on_done(transport)
        except BaseException:
            raw.abort()
            self._finish(TlsFailed("", "internal error"))
            raise
        if protocol is None:
            raw.abort()
        else:
            raw.set_protocol(transport)
            transport.begin(protocol)
        self._finish(None)

    def _fail(self, failure: TlsFailed) -> None:
        """The alert goes out, and then the connection ends."""
        raw, self._raw = self._raw, None
        if raw is not None:
            words = self._session.taken()
            if words:
                raw.write(words)
            raw.close()
        self._finish(failure)

    def _time_out(self, timeout_s: float) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.abort()
        self._finish(TlsFailed(TIMEOUT, f"the TLS handshake took more than {timeout_s:g} s"))

    def _finish(self, failure: TlsFailed | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.finished.done():
            self.finished.set_result(failure)

    def eof_received(self) -> None:
        self._fail(TlsFailed("", "the peer has closed the connection"))

    def connection_lost(self, error: Exception | None) -> None:
        self._raw = None
        self._finish(TlsFailed("", str(error) if error else "the peer has closed the connection"))

    def abort(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.abort()
