"""Accepted sockets without what Python's adds: `family` and `type` are numbers, and `close` closes.

`socket.accept` and the loop ask for them five times with each connection, and Python's class looks
up a member of an enumeration each time: a tenth of what a plain connection costs. Its `close` waits
for files that were made of the socket (`makefile`), of which there are none.
"""

from __future__ import annotations

import socket
from typing import Any, Final

_STREAM: Final = int(socket.SOCK_STREAM)


class Accepted(socket.socket):
    """As the class beneath has them."""

    __slots__ = ()

    family = socket.SocketType.family  # type: ignore[assignment]
    type = socket.SocketType.type  # type: ignore[assignment]
    close = socket.SocketType.close


def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """As `socket.accept`, whose private half this is, of a socket that is non-blocking. Raises
    OSError."""
    descriptor, remote = listening._accept()  # type: ignore[attr-defined]
    return Accepted(listening.family, _STREAM, listening.proto, descriptor), remote
