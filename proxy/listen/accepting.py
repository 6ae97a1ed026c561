"""One connection of a listening socket, if there is one. Judges nothing."""

from __future__ import annotations

import socket
from typing import Any, Final, cast

_STREAM: Final = int(socket.SOCK_STREAM)
_socket_of: Final[Any] = socket.SocketType  # what Python's class of sockets is made of


def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """As `socket.accept`, whose private half this is, of a socket that is non-blocking. What is
    accepted has all that a connected socket needs, but is no context manager and has no copies.
    Raises OSError."""
    descriptor, remote = listening._accept()  # type: ignore[attr-defined]
    sock = _socket_of(listening.family, _STREAM, listening.proto, descriptor)
    sock.setblocking(False)
    return cast(socket.socket, sock), remote
