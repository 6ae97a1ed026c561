"""Connections on the way to a listener that is asked for by name (Weft's own: Envoy holds all).

    came to                                asked for            e.g.
    a listener that hands on               its address _ PORT   0.0.0.0_3306
    one of all addresses, which asks       ADDRESS _ PORT       10.96.0.3_3306

Addresses are asked for where the mesh has any (`Listener.asks_within`): what is outside waits for
no control plane. Each is asked for once, as long as it is not forgotten; a listener that is not
there leaves the connection to the one it came to. It knows neither xDS nor what listeners do.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial

from protos.types import LDS
from proxy.connection import ConnectionInfo
from proxy.demand import Demand
from proxy.listen.runtime import ListenerRuntime

log = logging.getLogger("weft.listen")

TIMEOUT_S = 5.0
"""How long a connection waits. Then it is closed: nobody knows whether it may go on in plain
text."""

GoOn = Callable[[socket.socket, ConnectionInfo, bool], None]
"""What to do with a connection that has waited; False: there was no answer in time."""


class Asking:
    """Of one listening socket."""

    def __init__(self, demand: Demand, go_on: GoOn) -> None:
        self._demand = demand
        self._go_on = go_on
        self._waiting: dict[socket.socket, None] = {}

    def waits(self, runtime: ListenerRuntime, sock: socket.socket, info: ConnectionInfo) -> bool:
        """Whether go_on will be called, as somebody else may serve it better than `runtime`."""
        if info.local == info.direct_local:  # nobody has redirected it
            return False
        host, port = info.local
        config = runtime.config
        address = config.address.host if config.use_original_dst else host
        name = f"{address}_{port}"
        if name == config.name or not (runtime.asks_within is None or runtime.asks_within(host)):
            return False
        then = partial(self._on_answer, sock, info)
        asked = self._demand.wait((LDS, name), then, TIMEOUT_S, info.remote[0])
        if asked == "answered":
            return False
        self._waiting[sock] = None
        if asked == "full":
            log.warning("%s: too many connections wait for listeners", config.name)
            self._on_answer(sock, info, None)
        return True

    def close(self) -> None:
        """Nobody is left to serve them."""
        for sock in self._waiting:
            sock.close()
        self._waiting.clear()

    def _on_answer(self, sock: socket.socket, info: ConnectionInfo, answer: bool | None) -> None:
        if sock in self._waiting:
            del self._waiting[sock]
            self._go_on(sock, info, answer is not None)
