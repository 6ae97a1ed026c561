"""A socket to a host, where the loop's own way of connecting is not enough: a source address,
socket options, several addresses, or bytes that come before anything else.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence

from proxy.config.model import SocketAddress
from proxy.config.model.connecting import Sockets, TcpKeepalive

# RFC 8305 section 5: how long one address may keep the next one waiting.
NEXT_ADDRESS_AFTER_S = 0.3


class BindFailed(Exception):
    """The address to connect from is none that can be had."""


async def connected(
    addresses: Sequence[SocketAddress], options: Sockets, preface: bytes
) -> socket.socket:
    """Connected to the first address that answers, and `preface` sent. Raises OSError."""
    sock = await _first(addresses, options)
    try:
        if preface:
            await asyncio.get_running_loop().sock_sendall(sock, preface)
    except BaseException:
        sock.close()
        raise
    return sock


async def _first(addresses: Sequence[SocketAddress], options: Sockets) -> socket.socket:
    """Each address gets a head start of NEXT_ADDRESS_AFTER_S; the error is the first one's."""
    if len(addresses) == 1:
        return await _connect(addresses[0], options)
    attempts: list[asyncio.Task[socket.socket]] = []
    errors: list[BaseException] = []
    try:
        for address in addresses:
            attempts.append(asyncio.create_task(_connect(address, options)))  # noqa: TID251 — awaited here
            sock = await _wait(attempts, errors, NEXT_ADDRESS_AFTER_S)
            if sock is not None:
                return sock
        while attempts:
            sock = await _wait(attempts, errors, None)
            if sock is not None:
                return sock
        raise errors[0]
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_close_late)
            attempt.cancel()


async def _wait(
    attempts: list[asyncio.Task[socket.socket]],
    errors: list[BaseException],
    at_most_s: float | None,
) -> socket.socket | None:
    """A socket if one is there; None after that time, or when one more attempt has failed."""
    done, _ = await asyncio.wait(attempts, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
    found: socket.socket | None = None
    for attempt in done:
        attempts.remove(attempt)
        error = attempt.exception()
        if error is not None:
            errors.append(error)
        elif found is None:
            found = attempt.result()
        else:
            attempt.result().close()
    return found


def _close_late(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(address: SocketAddress, options: Sockets) -> socket.socket:
    family = socket.AF_UNIX
    if not address.path:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _set_up(sock, family, options)
        target = address.path or (address.host, address.port)
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_up(sock: socket.socket, family: socket.AddressFamily, options: Sockets) -> None:
    for option in options.options:
        sock.setsockopt(option.level, option.name, option.value)
    if family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.keepalive is not None:
        keep_alive(sock, options.keepalive)
    for source in (options.source, *options.others):
        if source is not None and (":" in source.host) == (family == socket.AF_INET6):
            try:
                sock.bind((source.host, source.port))
            except OSError as error:
                words = os.strerror(error.errno) if error.errno else str(error)
                raise BindFailed(f"failed to bind to {source}: {words}") from None
            return


def keep_alive(sock: socket.socket, wanted: TcpKeepalive) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPCNT", wanted.probes),
        ("TCP_KEEPIDLE", wanted.time_s),
        ("TCP_KEEPINTVL", wanted.interval_s),
    ):
        if value is not None and hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
