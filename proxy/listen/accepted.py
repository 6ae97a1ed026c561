"""Sockets without what Python's class adds: `family` and `type` are numbers, and `close` closes.

Python's class looks up a member of an enumeration each time it is asked for them, and its `close`
waits for files that were made of the socket (`makefile`), of which there are none.
"""

from __future__ import annotations

import socket
from typing import Any, Final, cast

_STREAM: Final = int(socket.SOCK_STREAM)
_socket_of: Final[Any] = socket.SocketType  # what Python's class is made of


class Accepted(socket.socket):
    """As the class beneath has them."""

    __slots__ = ()

    family = socket.SocketType.family  # type: ignore[assignment]
    type = socket.SocketType.type  # type: ignore[assignment]
    close = socket.SocketType.close


def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """As `socket.accept`, whose private half this is, of a socket that is non-blocking. What is
    accepted has all that a connected socket needs, but is no context manager and has no copies.
    Raises OSError."""
    descriptor, remote = listening._accept()  # type: ignore[attr-defined]
    sock = _socket_of(listening.family, _STREAM, listening.proto, descriptor)
    sock.setblocking(False)
    return cast(socket.socket, sock), remote
