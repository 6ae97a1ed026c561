"""Sessions that a server keeps for clients who come back, instead of writing each into a ticket.

A ticket is the session itself under a key: the peer's certificate is encoded for it, and decoded
and encoded anew when it comes back, a third of what OpenSSL has to do then. What names a kept one
is 32 bytes (RFC 8446 section 4.6.1: "a database lookup key"). They are few: where many clients
come, and most of them in vain, tickets take over, unless those are not brought back either. Knows
no connection, and judges no peer.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL

from proxy.tls.openssl import NULL, lib

if TYPE_CHECKING:
    from proxy.tls.session import Session

MOST_BYTES: Final = 16 * 1024 * 1024  # of one context
MOST_BYTES_OF_ALL: Final = 64 * 1024 * 1024
# What a session takes, measured: OpenSSL's decoded certificates are large.
_BYTES: Final = 3 * 1024
_BYTES_PER_OCTET: Final = 12
_ssl_free: Final[Any] = lib.SSL_free
_ended: Final[int] = lib.SSL_SENT_SHUTDOWN | lib.SSL_RECEIVED_SHUTDOWN
_of_all: Final = [0]
_ENOUGH: Final = 4096  # connections that tell whether tickets are brought back
_MOST_PATIENCE: Final = 64


class Kept:
    """Of one context, the oldest first. keeps: whether the next connection's session is kept."""

    __slots__ = (
        "_allowed",
        "_connections",
        "_context",
        "_doomed",
        "_full",
        "_most_bytes",
        "_only",
        "_patience",
        "_resumed",
        "_sessions",
        "_size",
        "keeps",
    )

    def __init__(
        self, context: SSL.Context, *, keeps: bool, only: bool, most_bytes: int = MOST_BYTES
    ) -> None:
        """only: there are no tickets to take over."""
        self.keeps = keeps
        self._allowed = keeps
        self._context = context
        self._only = only
        self._most_bytes = most_bytes
        self._sessions: deque[tuple[Any, int]] = deque()
        self._doomed: list[Any] = []  # OpenSSL still has them
        self._size = [0]
        self._full = False
        self._patience = 1  # how often as many come as there is room for, until they are judged
        self._connections = 0
        self._resumed = 0
        # Contexts come and go; what they were made for is kept alive by connections.
        weakref.finalize(self._sessions, _give_back, self._size).atexit = False

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Whose hands were shaken just now. Older ones make room."""
        if not self._allowed:
            return
        self._connections += 1
        self._resumed += session.resumed
        if not self.keeps:
            self._judge_tickets()
        elif not session.resumed or session.version == "TLSv1.3":  # else it is there already
            self._add(session)

    def _add(self, session: Session) -> None:
        own = session.resumable()
        if own is None:
            return
        shown = len(session.peer_der)
        if shown:
            shown += sum(map(len, session.peer_chain()))
        size = _BYTES + _BYTES_PER_OCTET * shown
        self._sessions.append((own.session, size))
        self._count(size)
        if self._is_too_large():
            self._make_room()

    def _count(self, size: int) -> None:
        self._size[0] += size
        _of_all[0] += size

    def _is_too_large(self) -> bool:
        return self._size[0] > self._most_bytes or _of_all[0] > MOST_BYTES_OF_ALL

    def _make_room(self) -> None:
        """Were two of three known, of as many as there is room for? A kept session that is there is
        cheaper than a ticket, and one that is not there, dearer."""
        if not self._full:
            self._full = True
            self._start_counting()
        elif self._connections >= self._patience * len(self._sessions):
            if not self._only and 3 * self._resumed < 2 * self._connections:
                self._hand_over()
                return
            self._start_counting()
        while self._sessions and self._is_too_large():
            session, size = self._sessions.popleft()
            self._doomed.append(session)
            self._count(-size)

    def _start_counting(self) -> None:
        self._connections = self._resumed = 0

    def _hand_over(self) -> None:
        """To tickets."""
        self.keeps = self._full = False
        self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._doomed += [session for session, _ in self._sessions]
        self._sessions.clear()
        self._count(-self._size[0])
        self._start_counting()

    def _judge_tickets(self) -> None:
        """Where hardly anybody brings them back, to keep sessions in vain is cheaper."""
        if self._connections < _ENOUGH:
            return
        if 8 * self._resumed < self._connections:
            self.keeps = True
            self._context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
            self._patience = min(4 * self._patience, _MOST_PATIENCE)
        self._start_counting()

    def free(self, ssl: Any) -> None:
        """An `SSL *` of the context, in place of SSL_free. One that was open takes out of OpenSSL
        what has to go: a session in whose place another is put, and that was not shut down, is a
        bad one to OpenSSL, which forgets it (SSL_set_session(3))."""
        if self._doomed and lib.SSL_get_shutdown(ssl) == _ended:
            doomed, self._doomed = self._doomed, []
            for session in doomed:
                lib.SSL_set_session(ssl, session)
                lib.SSL_set_shutdown(ssl, 0)
            lib.SSL_set_session(ssl, NULL)
        _ssl_free(ssl)


def _give_back(size: list[int]) -> None:
    _of_all[0] -= size[0]
