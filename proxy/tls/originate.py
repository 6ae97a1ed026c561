"""TLS from us to a server: for clusters, health checks and our own calls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from time import time

from proxy.tls.contexts import ClientSession
from proxy.tls.failure import TlsFailed
from proxy.tls.handshake import Handshake
from proxy.tls.transport import TlsTransport

Connect = Callable[[], Awaitable[socket.socket]]
"""Makes the connection beneath: a non-blocking socket that belongs to who asked."""


async def originate(
    session: ClientSession,
    protocol: asyncio.Protocol,
    connect: Connect,
    close_notify_wait_s: float,
) -> None:
    """`protocol` has a verified connection when this returns. Raises TlsFailed, which tells of our
    certificate where the server refused it, and what `connect` raises."""

    refused = False
    opened: TlsTransport | None = None

    def use(transport: TlsTransport) -> asyncio.Protocol | None:
        nonlocal refused, opened
        refused = not session.verify(time())
        if refused:
            return None
        opened = transport
        return protocol

    loop = asyncio.get_running_loop()
    finished: asyncio.Future[TlsFailed | None] = loop.create_future()

    def finish(failure: TlsFailed | None) -> None:
        if not finished.done():
            finished.set_result(failure)

    sock = await connect()
    handshake = Handshake(loop, sock, session, use, finish, close_notify_wait_s)
    try:
        handshake.begin()
        failure = await finished
    except BaseException:
        handshake.abort()
        if opened is not None:  # whoever has asked does not hear of it any more
            opened.abort()
        raise
    if refused:
        failure = TlsFailed(session.refusal.statistic, session.refusal.why)
    if failure is not None:
        raise failure
