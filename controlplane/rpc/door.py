"""One listening port: connections are accepted, shake hands, and are let in.

The accept loop is our own, so that each handshake is made with what counts as it begins, takes only
so long, and tells why it failed. Whoever has begun first gives way when too many are under way.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL

from controlplane.rpc.connection import Connection
from controlplane.rpc.limits import Limits, Room
from controlplane.rpc.peer import Peer
from controlplane.rpc.tls import PROTOCOL, Credentials, server_context
from controlplane.tasks import spawn
from proxy.tls.failure import TlsFailed
from proxy.tls.handshake import Handshake
from proxy.tls.session import Session
from proxy.tls.transport import TlsTransport

log = logging.getLogger("weft.controlplane.rpc")

BACKLOG = 4096  # ten thousand workloads that come at once wait in the kernel
ACCEPTED_AT_ONCE = 4
"""In one turn of the loop. Who comes in together is let in together, and asks together: each is a
millisecond or two of TLS, and four of its first configuration."""
PAUSE_S = 0.2
"""Without descriptors."""
CLOSE_WAIT_S = 2.0
QUIET_S = 1.0
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Now = Callable[[], Credentials]
"""What is shown and believed now: the same object while that is the same."""


def bind(address: str) -> socket.socket:
    """Listens on `HOST:PORT`; 0 takes any free port. Raises OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    found.sort(key=lambda each: each[0] == socket.AF_INET6)
    family, _, _, _, place = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(place)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class Door:
    """credentials None: without TLS. admit makes the connection of whoever has come in."""

    def __init__(
        self,
        sock: socket.socket,
        credentials: Now | None,
        limits: Limits,
        admit: Callable[[Peer, Room], Connection],
    ) -> None:
        self._sock = sock
        self._credentials = credentials
        self._limits = limits
        self._room = Room()
        self._max_connections = min(limits.max_connections, _half_of_all_descriptors())
        self._admit = admit
        self._loop = asyncio.get_running_loop()
        self._made_of: Credentials | None = None
        self._context: SSL.Context | None = None
        self._shaking: dict[Handshake, float] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._said_at = -QUIET_S
        self._unsaid = 0
        self._open()

    def _open(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Whoever is in stays."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for handshake in list(self._shaking):
            handshake.abort()
        self._shaking.clear()

    def sweep(self, now: float) -> None:
        """Who has begun too long ago? (A client that says its hello by the byte.)"""
        for handshake, began_at in list(self._shaking.items()):
            if now - began_at < self._limits.handshake_s:
                return  # those behind have begun later
            self._drop(handshake, "it has not finished its TLS handshake in time")

    def _drop(self, handshake: Handshake, why: str) -> None:
        del self._shaking[handshake]
        handshake.abort()
        self._tell("?", why)

    # ------------------------------------------------------------------ coming in

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_RESOURCES:
                    self._pause_for(error)
                    return
                continue  # it has gone already
            sock.setblocking(False)
            try:
                self._begin(sock, address[0], address[1])
            except Exception:
                sock.close()
                log.exception("connection refused peer=%s", address[0])

    def _pause_for(self, error: OSError) -> None:
        log.error("no connections for %.1f s: %s", PAUSE_S, error.strerror)
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(PAUSE_S, self._open)

    def _begin(self, sock: socket.socket, host: str, port: int) -> None:
        if not self._has_room():
            sock.close()
            self._tell(host, f"there are {self._max_connections} connections already")
            return
        if self._credentials is None:
            spawn(self._plain(Peer(host, port, None), sock), "plain connection")
            return
        if len(self._shaking) >= self._limits.max_handshakes:
            self._drop(next(iter(self._shaking)), "too many TLS handshakes are under way")
        context, demands = self._now(self._credentials())
        session = Session(context, None, server=True)
        begun = _Begun(host, port, demands)
        handshake = Handshake(
            self._loop,
            sock,
            session,
            partial(self._let_in, begun),
            partial(self._shaken, begun),
            CLOSE_WAIT_S,
        )
        begun.handshake = handshake
        self._shaking[handshake] = self._loop.time()

    def _has_room(self) -> bool:
        """Whoever has proven nothing gives way, the oldest first."""
        room = self._room
        if room.connections < self._max_connections:
            return True
        if not room.strangers:
            return False
        stranger = next(iter(room.strangers))
        del room.strangers[stranger]
        stranger.give_way()
        return True

    async def _plain(self, peer: Peer, sock: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: self._admit(peer, self._room), sock)

    def _now(self, credentials: Credentials) -> tuple[SSL.Context, bool]:
        """And whether clients show certificates."""
        if self._context is None or credentials is not self._made_of:
            self._context = server_context(credentials)
            self._made_of = credentials
        return self._context, bool(credentials.roots_pem)

    def _let_in(self, begun: _Begun, transport: TlsTransport) -> asyncio.Protocol | None:
        session = transport.session
        if session.alpn != PROTOCOL:
            self._tell(begun.host, "it does not speak HTTP/2 (ALPN h2)")
            return None
        peer = Peer(begun.host, begun.port, session if begun.demands else None)
        return self._admit(peer, self._room)

    def _shaken(self, begun: _Begun, failure: TlsFailed | None) -> None:
        self._shaking.pop(begun.handshake, None)
        if failure is not None and failure.statistic:  # others just went away
            self._tell(begun.host, failure.why)

    def _tell(self, host: str, why: str) -> None:
        """A line a second at most: a client that fails in a loop would fill the disk."""
        now = self._loop.time()
        if now - self._said_at < QUIET_S:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} others)" if self._unsaid else ""
        log.warning("connection refused peer=%s: %s%s", host, why, more)
        self._said_at, self._unsaid = now, 0


def _half_of_all_descriptors() -> int:
    """The other half is for other ports, files and stores."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if allowed == resource.RLIM_INFINITY else allowed // 2


class _Begun:
    """A handshake, and of whom."""

    __slots__ = ("demands", "handshake", "host", "port")

    def __init__(self, host: str, port: int, demands: bool) -> None:
        self.host = host
        self.port = port
        self.demands = demands
        self.handshake: Any = None
