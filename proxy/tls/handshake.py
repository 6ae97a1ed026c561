"""A TLS handshake on a connected socket: until the peer is verified, or it is known why not.

Knows no listener and no cluster.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.tls.failure import TlsFailed
from proxy.tls.transport import TlsTransport, close_heard, cork
from proxy.transport.watch import watch_of

if TYPE_CHECKING:
    from proxy.tls.session import Session

OnDone = Callable[[TlsTransport], asyncio.Protocol | None]
OnEnd = Callable[[TlsFailed | None], None]


class Handshake:
    """`on_end` hears once how it went, unless somebody calls `abort` before."""

    __slots__ = (
        "_answered",
        "_fd",
        "_loop",
        "_on_done",
        "_on_end",
        "_over",
        "_session",
        "_sock",
        "_wait_s",
        "_watch",
        "_writing",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        session: Session,
        on_done: OnDone,
        on_end: OnEnd,
        close_notify_wait_s: float,
    ) -> None:
        """sock: connected, non-blocking, and ours from here on. on_done: the peer is verified; who
        uses the connection, or None to drop it. on_end: told None when somebody uses the
        connection or has dropped it, else why not. How long it may take is for whoever waits."""
        self._loop = loop
        self._watch = watch_of(loop)
        self._sock = sock
        self._fd = sock.fileno()
        self._session = session
        self._on_done = on_done
        self._on_end = on_end
        self._wait_s = close_notify_wait_s
        self._answered = False  # the client's first words were
        self._writing = False
        self._over = False
        session.attach(self._fd)
        self._watch.add_reader(self._fd, self._go_on)

    def begin(self) -> None:
        """For a client, who has the first word."""
        self._go_on()

    def _go_on(self) -> None:
        # A server's last words in TLS 1.3 are tickets: they wait for its first answer (BoringSSL).
        if self._watch.late:  # a handshake takes a millisecond
            self._watch.let_go()
        last = self._answered and self._session.only_tickets_left
        if last:
            cork(self._sock, 1)
        try:
            done = self._session.shake()
        except TlsFailed as failure:
            self._fail(failure)
            return
        if done:
            self._step_aside(last)
            return
        self._answered = True
        if last:  # there is another round (RFC 8446 section 4.1.4)
            cork(self._sock, 0)
        self._wait_for_room(self._session.blocked)

    def _wait_for_room(self, blocked: bool) -> None:
        if blocked != self._writing:
            self._writing = blocked
            if blocked:
                self._watch.add_writer(self._fd, self._go_on)
            else:
                self._watch.remove_writer(self._fd)

    def _step_aside(self, corked: bool) -> None:
        on_done, on_end = self._stop()
        transport = TlsTransport(
            self._loop, self._watch, self._sock, self._session, self._wait_s, corked
        )
        try:
            protocol = on_done(transport)
        except BaseException:
            self._drop()
            on_end(TlsFailed("", "internal error"))
            raise
        if protocol is None:
            self._drop()
            on_end(None)
            return
        try:
            transport.begin(protocol)
        finally:
            on_end(None)

    def _fail(self, failure: TlsFailed) -> None:
        """OpenSSL has sent the alert."""
        _, on_end = self._stop()
        self._watch.forget(self._fd)
        close_heard(self._sock)
        on_end(failure)

    def abort(self) -> None:
        """Whatever its state; a connection that is established lives on."""
        if not self._over:
            self._stop()
            self._drop()

    def _stop(self) -> tuple[OnDone, OnEnd]:
        """Whom to tell, of whom we know nothing more: he knows us, and all of the connection would
        wait for Python's collector, OpenSSL's part of it, too."""
        self._over = True
        self._wait_for_room(False)
        told = self._on_done, self._on_end
        self._on_done, self._on_end = _nobody, _nothing
        return told

    def _drop(self) -> None:
        self._watch.forget(self._fd)
        self._sock.close()


def _nobody(_: TlsTransport) -> asyncio.Protocol | None:
    return None


def _nothing(_: TlsFailed | None) -> None:
    pass
