"""TLS from us to a server: for clusters, health checks and our own calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import time

from proxy.tls.contexts import ClientSession
from proxy.tls.failure import TlsFailed
from proxy.tls.transport import Handshake, TlsTransport

Connect = Callable[[asyncio.Protocol], Awaitable[None]]
"""Makes the connection beneath, for the protocol that it is given."""


async def originate(
    session: ClientSession,
    protocol: asyncio.Protocol,
    connect: Connect,
    close_notify_wait_s: float,
) -> None:
    """`protocol` has a verified connection when this returns. Raises TlsFailed, which tells of our
    certificate where the server refused it, and what `connect` raises."""

    refused = False

    def use(_: TlsTransport) -> asyncio.Protocol | None:
        nonlocal refused
        refused = not session.verify(time())
        return None if refused else protocol

    loop = asyncio.get_running_loop()
    handshake = Handshake(loop, session, use, close_notify_wait_s)
    try:
        await connect(handshake)
        failure = await handshake.finished
    finally:
        handshake.abort()
    if refused:
        failure = TlsFailed(session.refusal.statistic, session.refusal.why)
    if failure is not None:
        raise failure
