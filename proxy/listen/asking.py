"""Connections on the way to a listener that is asked for by name (Weft's own: Envoy holds all).

    came to                                asked for            e.g.
    a listener that hands on               its address _ PORT   0.0.0.0_3306
    one of all addresses, which asks       ADDRESS _ PORT       10.96.0.3_3306

Addresses are asked for where the mesh has any (`Listener.asks_within`): what is outside waits for
no control plane. Each is asked for once, as long as it is not forgotten; a listener that is not
there leaves the connection to the one it came to. One that is there and can't be put in force does
not: where it would have sent the connection is no secret to be told in plain text. It knows neither
xDS nor what listeners do.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Literal

from protos.types import LDS
from proxy.connection import ConnectionInfo
from proxy.demand import Demand
from proxy.listen.runtime import ListenerRuntime

log = logging.getLogger("weft.listen")

TIMEOUT_S = 5.0
"""How long a connection waits. Then it is closed: nobody knows whether it may go on in plain
text."""

Refusal = Literal["late", "full", "unusable"]
"""No answer in time; too many wait; the listener is there and cannot be put in force."""
GoOn = Callable[[socket.socket, ConnectionInfo, Refusal | None], None]
"""What to do with a connection that has waited: to serve it, or to refuse it, and why."""


class Asking:
    """Of one listening socket."""

    def __init__(self, demand: Demand, go_on: GoOn) -> None:
        self._demand = demand
        self._go_on = go_on
        self._waiting: dict[socket.socket, None] = {}

    def waits(self, runtime: ListenerRuntime, sock: socket.socket, info: ConnectionInfo) -> bool:
        """Whether go_on will be called, or has been: `runtime` is not to serve it for now."""
        if info.local == info.direct_local:  # nobody has redirected it
            return False
        host, port = info.local
        config = runtime.config
        address = config.address.host if config.use_original_dst else host
        name = f"{address}_{port}"
        if name == config.name or not (runtime.asks_within is None or runtime.asks_within(host)):
            return False
        key, then = (LDS, name), partial(self._on_answer, sock, info)
        asked = self._demand.wait(key, then, TIMEOUT_S, info.remote[0])
        if asked == "waits":
            self._waiting[sock] = None
        elif asked == "full":
            log.warning("%s: too many connections wait for listeners", config.name)
            self._go_on(sock, info, "full")
        elif (why := self._demand.unusable.get(key)) is not None:
            to, source = f"{host}:{port}", "{}:{}".format(*info.remote)
            log.warning("%s: %s to %s: refused: %s", config.name, source, to, why)
            self._go_on(sock, info, "unusable")
        else:
            return False
        return True

    def close(self) -> None:
        """Nobody is left to serve them."""
        for sock in self._waiting:
            sock.close()
        self._waiting.clear()

    def _on_answer(self, sock: socket.socket, info: ConnectionInfo, answer: bool | None) -> None:
        if sock in self._waiting:
            del self._waiting[sock]
            self._go_on(sock, info, "late" if answer is None else None)
