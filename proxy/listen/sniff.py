"""Looks at the first bytes of a connection and leaves them in the socket (MSG_PEEK)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

MAX_PEEK_BYTES = 64 * 1024


async def peek_until(sock: socket.socket, enough: Callable[[bytes], bool]) -> bytes | None:
    """The bytes at which `enough` said yes; None when the peer closed before.

    SO_RCVLOWAT makes the kernel wait for more than is there already; else a peeked socket would be
    readable all the time."""
    seen = 0
    try:
        while True:
            data = _peek(sock)
            if data is not None:
                if enough(data):
                    return data
                if len(data) == seen:  # woken without more: the end of the stream
                    return None
                seen = len(data)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)
            await _readable(sock)
    finally:
        if seen:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _peek(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(MAX_PEEK_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return None


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())
