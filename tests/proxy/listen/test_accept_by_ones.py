"""How many connections are accepted at once: as many as come, without asking in vain for more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.config import model
from proxy.connection import ConnectionInfo
from proxy.listen.accept import Acceptor
from proxy.listen.accepted import Accepted
from proxy.listen.counters import InspectorCounters, ListenerCounters
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.tls.contexts import ServerTls
from tests.support.wait import eventually_async

ONE_AFTER_THE_OTHER = 40
TOGETHER = 60


class Counting(Accepted):
    """tries: how often somebody was asked for."""

    tries = 0

    def _accept(self) -> Any:
        self.tries += 1
        return super()._accept()  # type: ignore[misc]


class Chain(asyncio.Protocol):
    name = "chain"
    match = model.FilterChainMatch()
    tls: ServerTls | None = None
    handshake_timeout_s: float | None = None
    close_notify_wait_s = 1.0
    served = 0

    def connect(self, info: ConnectionInfo) -> asyncio.BaseProtocol:
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.served += 1


@pytest.fixture
def listening() -> Iterator[Counting]:
    with Counting(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(TOGETHER)
        sock.setblocking(False)
        yield sock


async def test_who_comes_alone_is_not_followed_by_a_vain_attempt_each_time(
    listening: Counting,
) -> None:
    chain, stats = Chain(), Stats()
    runtime = ListenerRuntime(model.Listener("x", model.SocketAddress("127.0.0.1")), (chain,))
    acceptor = Acceptor(
        *(asyncio.get_running_loop(), listening, runtime, ListenerCounters(stats, "x")),
        *(InspectorCounters(stats), lambda _: None, RuntimeValues()),
    )
    clients: list[socket.socket] = []
    try:
        for count in range(1, ONE_AFTER_THE_OTHER + 1):
            clients.append(socket.create_connection(listening.getsockname()))
            await eventually_async(lambda count=count: chain.served == count, 30.0, "it is served")  # type: ignore[misc]
        assert listening.tries - ONE_AFTER_THE_OTHER <= 6
        clients += [socket.create_connection(listening.getsockname()) for _ in range(TOGETHER)]
        whole = ONE_AFTER_THE_OTHER + TOGETHER
        await eventually_async(lambda: chain.served == whole, 30.0, "all are served")
    finally:
        acceptor.close()
        for client in clients:
            client.close()
