"""The accept loop of one listening socket, ours and not asyncio's: only so is a failed handshake
seen, the original destination asked for, and the TLS context chosen after the first bytes.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from proxy.config.model import SocketAddress
from proxy.config.model.connecting import SocketOption
from proxy.connection import ConnectionInfo
from proxy.demand import Demand
from proxy.listen.accepted import Accepted
from proxy.listen.accepting import accept
from proxy.listen.asking import Asking, Refusal
from proxy.listen.connection_log import log_refused
from proxy.listen.counters import InspectorCounters, ListenerCounters
from proxy.listen.establish import Establisher
from proxy.listen.original_dst import original_destination, plain_host
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.tasks import spawn
from proxy.upstream.source import note

log = logging.getLogger("weft.listen")

MAX_ACCEPTS_PER_TURN = 32
MAX_LULL_TURNS = 31
MAX_PENDING = 1024  # sniffing or shaking hands; beyond it the kernel's backlog holds them,
PATIENCE_S = 1.0  # and who has taken longer than this gives way to others
PAUSE_WHILE_FULL_S = 0.05
PAUSE_WITHOUT_DESCRIPTORS_S = 0.5

_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

FindListener = Callable[[tuple[str, int]], ListenerRuntime | None]


def bind(
    address: SocketAddress, backlog: int, options: Iterable[SocketOption] = ()
) -> socket.socket:
    """A listening, non-blocking socket. Raises OSError."""
    if address.path:
        family = socket.AF_UNIX
        _unlink_socket(address.path)
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock: socket.socket = Accepted(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not address.ipv4_compat))
        for option in options:
            sock.setsockopt(option.level, option.name, option.value)
        sock.bind(address.path or (address.host, address.port))
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _unlink_socket(path: str) -> None:
    """Takes away the socket that an earlier process left; never a file of another kind."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass


class Acceptor:
    """Accepts on one socket for whatever `runtime` is at the moment."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        runtime: ListenerRuntime,
        counters: ListenerCounters,
        inspectors: InspectorCounters,
        find_listener: FindListener,
        values: RuntimeValues,
        demand: Demand | None = None,
    ) -> None:
        """find_listener: the listener that serves an original destination (use_original_dst).
        values: may have a limit of connections. demand: where listeners are asked for by name."""
        self.runtime = runtime
        self.address = _local(sock)
        self._any_address = self.address[0] in ("0.0.0.0", "::")
        self._loop = loop
        self._sock = sock
        self._establisher = Establisher(loop, counters, inspectors)
        self._find_listener = find_listener
        self._values = values
        self._asking = Asking(demand, self._answered) if demand is not None else None
        self._pending: dict[asyncio.Task[None], float] = {}  # and when it began, in that order
        self._paused: asyncio.TimerHandle | None = None
        self._reading = False
        self._some = 1  # are accepted before the loop is asked again
        self._alone = 0  # so often yet one is all there is, as it was
        self._lull = 0  # how often it was, last time
        self._limit_key = _limit_key(runtime)
        self._read()

    def swap(self, runtime: ListenerRuntime, counters: ListenerCounters) -> None:
        """From here on new connections are the new configuration's."""
        if runtime.config.tcp_backlog_size != self.runtime.config.tcp_backlog_size:
            self._sock.listen(runtime.config.tcp_backlog_size)
        self.runtime = runtime
        self._limit_key = _limit_key(runtime)
        self._establisher.counters = counters

    def close(self) -> None:
        """Stops accepting and drops what is not established yet; connections live on."""
        self._stop_reading()
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        self._sock.close()
        self._establisher.abandon()
        if self._asking is not None:
            self._asking.close()
        for task in self._pending:
            # One turn later: a task cancelled before its first step would leave its socket open.
            self._loop.call_soon(task.cancel)

    # ----------------------------------------------------------------------- accepting

    def _read(self) -> None:
        self._paused = None
        if not self._reading and self._sock.fileno() != -1:
            self._loop.add_reader(self._sock.fileno(), self._accept_some)
            self._reading = True

    def _stop_reading(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._sock.fileno())
            self._reading = False

    def _accept_some(self) -> None:
        """Few come by ones and twos: asking for one more in vain costs more than a turn. So it is
        asked the less often, the oftener that was in vain."""
        some = self._some
        self._some = 1
        for _ in range(some):
            if not self._has_room():
                self._stop_reading()
                self._paused = self._loop.call_later(PAUSE_WHILE_FULL_S, self._read)
                return
            try:
                sock, remote = accept(self._sock)
            except (BlockingIOError, InterruptedError):
                self._alone = self._lull = min(2 * self._lull + 1, MAX_LULL_TURNS)
                return
            except ConnectionError:  # gone again before we came
                continue
            except OSError as error:
                self._accept_failed(error)
                return
            try:
                self._accepted(sock, remote)
            except Exception:
                log.exception("%s: connection dropped", self.runtime.config.name)
                sock.close()
        if self._alone:
            self._alone -= 1
            return
        if some > 1:
            self._lull = 0
        self._some = min(2 * some, MAX_ACCEPTS_PER_TURN)

    def _has_room(self) -> bool:
        """For one more, if need be in place of one who takes long: a thousand who say nothing must
        not keep others out."""
        shaking, pending = self._establisher.shaking, self._pending
        if len(shaking) + len(pending) < MAX_PENDING:
            return True
        before = self._loop.time() - PATIENCE_S
        if len(shaking) >= len(pending):
            gate, began = next(iter(shaking.items()))
            if began <= before:
                gate.give_way()
            return began <= before
        task, began = next(iter(pending.items()))
        if began <= before:
            del pending[task]
            self._establisher.counters.pre_cx_timeout.value += 1
            self._loop.call_soon(task.cancel)
        return began <= before

    def _accept_failed(self, error: OSError) -> None:
        """Out of descriptors: the socket stays readable, so without a pause the loop would spin."""
        if error.errno not in _NO_RESOURCES:
            log.error("%s: accept: %s", self.runtime.config.name, error)
        else:
            log.error(
                "%s: cannot accept: %s; trying again in %s s",
                *(self.runtime.config.name, os.strerror(error.errno), PAUSE_WITHOUT_DESCRIPTORS_S),
            )
        self._stop_reading()
        self._paused = self._loop.call_later(PAUSE_WITHOUT_DESCRIPTORS_S, self._read)

    def _accepted(self, sock: socket.socket, remote: Any) -> None:
        if self._is_full():
            self._establisher.counters.cx_overflow.value += 1
            sock.close()
            return
        local = _local(sock) if self._any_address else self.address
        peer = _plain(remote) if isinstance(remote, tuple) else ("", 0)
        info = ConnectionInfo(remote=peer, local=local, direct_local=local)
        runtime = self.runtime
        if runtime.redirected:
            redirected = self._redirected(sock, info)
            if redirected is None:
                sock.close()
                return
            runtime = redirected
        if not self._waits(runtime, sock, info):
            self._begin(runtime, sock, info)

    def _waits(self, runtime: ListenerRuntime, sock: socket.socket, info: ConnectionInfo) -> bool:
        """For a listener that is asked for by name."""
        asking = self._asking
        return asking is not None and runtime.config.asks and asking.waits(runtime, sock, info)

    def _answered(self, sock: socket.socket, info: ConnectionInfo, refusal: Refusal | None) -> None:
        """It has waited for a listener that may serve it, which may ask for another one."""
        if refusal is not None:
            counters = self._establisher.counters
            unusable = refusal == "unusable"
            (counters.listener_unusable if unusable else counters.pre_cx_timeout).value += 1
            log_refused(self.runtime.loggers, info, f"on_demand_listener_{refusal}")
            sock.close()
            return
        runtime = self._handed_on(info.local)
        if not self._waits(runtime, sock, info):
            self._begin(runtime, sock, info)

    def _begin(self, runtime: ListenerRuntime, sock: socket.socket, info: ConnectionInfo) -> None:
        if self.runtime.config.original_src is not None:
            note(info, self.runtime.config.original_src)
        rest = self._establisher.begin(runtime, sock, info)
        if rest is not None:
            self._spawn(rest)

    def _is_full(self) -> bool:
        limit = self._values.integer(self._limit_key, -1)
        return 0 <= limit <= self._establisher.counters.cx_active.value

    def _redirected(self, sock: socket.socket, info: ConnectionInfo) -> ListenerRuntime | None:
        """Fills in `info.local`; answers who serves it, None for a connection to be refused: one
        made directly to this port, which would be proxied to itself without end."""
        if self.runtime.config.transparent:
            # TPROXY leaves the destination as the socket's own address; it came to our port.
            info.direct_local = (info.local[0], self.address[1])
            return self._handed_on(info.local)
        destination = original_destination(sock)
        if destination is None:
            return self.runtime
        if destination == info.direct_local:
            log.info(
                "%s: %s:%d connected directly to a port for redirected connections: refused",
                *(self.runtime.config.name, *info.remote),
            )
            return None
        info.local = destination
        return self._handed_on(destination)

    def _handed_on(self, destination: tuple[str, int]) -> ListenerRuntime:
        if self.runtime.config.use_original_dst:
            return self._find_listener(destination) or self.runtime
        return self.runtime

    def _spawn(self, rest: Coroutine[Any, Any, None]) -> None:
        task = spawn(rest, "establish a connection")
        self._pending[task] = self._loop.time()
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._pending.pop(task, None)


def _limit_key(runtime: ListenerRuntime) -> str:
    """Of Envoy's runtime."""
    return f"envoy.resource_limits.listener.{runtime.config.name}.connection_limit"


def _local(sock: socket.socket) -> tuple[str, int]:
    """The socket's own (host, port); of a Unix socket (path, 0)."""
    name = sock.getsockname()
    return _plain(name) if isinstance(name, tuple) else (name, 0)


def _plain(address: tuple[Any, ...]) -> tuple[str, int]:
    """Of a socket of either family."""
    host: str = address[0]
    return (plain_host(host) if ":" in host else host, address[1])
