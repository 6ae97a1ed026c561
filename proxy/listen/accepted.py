"""Sockets without what Python's class adds: `family` and `type` are numbers, and `close` closes.

Python's class looks up a member of an enumeration each time it is asked for them, and its `close`
waits for files that were made of the socket (`makefile`), of which there are none.
"""

from __future__ import annotations

import socket


class Accepted(socket.socket):
    """As the class beneath has them."""

    __slots__ = ()

    family = socket.SocketType.family  # type: ignore[assignment]
    type = socket.SocketType.type  # type: ignore[assignment]
    close = socket.SocketType.close
