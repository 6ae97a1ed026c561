"""The server: methods, ports, connections; started and stopped.

made (methods and ports are added) -> serving -> stopping (calls have a grace) -> stopped
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from controlplane.rpc.call import Call
from controlplane.rpc.connection import Connection
from controlplane.rpc.door import Door, Now, bind
from controlplane.rpc.guests import Everybody, Guests
from controlplane.rpc.handling import handle
from controlplane.rpc.limits import DEFAULT_LIMITS, Limits, Room
from controlplane.rpc.methods import Generic, Methods
from controlplane.rpc.peer import Peer
from controlplane.rpc.turns import Turns
from controlplane.tasks import spawn

SWEEP_S = 2.0
LAST_WORDS_S = 0.2
"""For the statuses of calls that are cut off."""


class Server:
    """In the words of grpc.aio's server, so that generated code registers its services."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, guests: Guests | None = None) -> None:
        """guests: who callers are, None where nobody is asked for proof. Within a running loop."""
        self.limits = limits
        self.methods = Methods()
        self.guests: Guests = guests or Everybody()
        soon = asyncio.get_running_loop().call_soon
        self.turns = Turns(soon, monotonic, limits.max_queued_bytes)
        self._ports: list[tuple[socket.socket, Now | None]] = []
        self._doors: list[Door] = []
        self._connections: dict[Connection, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Event | None = None

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Generic]) -> None:
        self.methods.add_generic(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Any]
    ) -> None:
        self.methods.add_registered(service_name, method_handlers)

    def add_secure_port(self, address: str, credentials: Now) -> int:
        """Its number. Raises OSError."""
        return self._add_port(address, credentials)

    def add_insecure_port(self, address: str) -> int:
        """Its number: without TLS, so that nobody has proven anything. Raises OSError."""
        return self._add_port(address, None)

    def _add_port(self, address: str, credentials: Now | None) -> int:
        sock = bind(address)
        self._ports.append((sock, credentials))
        number: int = sock.getsockname()[1]
        return number

    # ------------------------------------------------------------------ its life

    async def start(self) -> None:
        self._doors = [
            Door(sock, credentials, self.limits, self._admit) for sock, credentials in self._ports
        ]
        self._ports.clear()
        self._sweep_later()

    async def stop(self, grace_s: float) -> None:
        """No more connections and calls; those that are under way may end within `grace_s`."""
        for sock, _ in self._ports:  # it was never started
            sock.close()
        for door in self._doors:
            door.close()
        self._doors.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._connections):
            connection.leave_off()
        await self._wait_closed(grace_s)
        tasks = [call.task for each in self._connections for call in each.calls.values()]
        for connection in list(self._connections):
            connection.cancel_calls()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        await self._wait_closed(LAST_WORDS_S)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    async def _wait_closed(self, at_most_s: float) -> None:
        if not self._connections:
            return
        self._all_closed = asyncio.Event()
        try:
            async with asyncio.timeout(at_most_s):
                await self._all_closed.wait()
        except TimeoutError:
            pass  # then they are cut off

    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for door in self._doors:
            door.sweep(now)
        for connection in list(self._connections):
            connection.sweep(now)
        self._sweep_later()

    # ------------------------------------------------------------------ the connections' side

    def _admit(self, peer: Peer, room: Room) -> Connection:
        connection = Connection(self, room, peer, asyncio.get_running_loop())
        self._connections[connection] = None
        room.connections += 1
        if not connection.proven:
            room.strangers[connection] = None
        return connection

    def closed(self, connection: Connection) -> None:
        del self._connections[connection]
        connection.room.strangers.pop(connection, None)
        connection.room.connections -= 1
        if not self._connections and self._all_closed is not None:
            self._all_closed.set()

    def handle(self, call: Call) -> None:
        call.task = spawn(handle(call), call.path)
