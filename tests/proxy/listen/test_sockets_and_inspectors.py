"""A listener's socket follows its options, and inspectors leave ports alone that are not theirs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from proxy.config import model
from proxy.config.model.connecting import SocketOption
from proxy.connection import ConnectionInfo
from proxy.listen.listeners import Listeners
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.tls.contexts import ServerTls
from tests.support.wait import eventually_async

KEEPALIVE = SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
EVERY_PORT = ((0, 65536),)


class Chain(asyncio.Protocol):
    """Notes of each connection whether it is kept alive, as it has it from the listener."""

    name = "chain"
    match = model.FilterChainMatch()
    tls: ServerTls | None = None
    handshake_timeout_s: float | None = None
    close_notify_wait_s = 1.0

    def __init__(self) -> None:
        self.kept_alive: list[bool] = []

    def connect(self, info: ConnectionInfo) -> asyncio.BaseProtocol:
        self.info = info
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = cast(socket.socket, transport.get_extra_info("socket"))
        self.kept_alive.append(bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))

    def connection_lost(self, error: Exception | None) -> None:
        self.info.on_closed()


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    made = Listeners(asyncio.get_running_loop(), Stats(), RuntimeValues())
    yield made
    made.close()


async def met(port: int, chain: Chain, count: int) -> None:
    """A connection on which the client says nothing has come to the chain."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await eventually_async(lambda: len(chain.kept_alive) == count, 30.0, "it has come")
    finally:
        writer.close()


async def test_another_socket_option_takes_another_socket(listeners: Listeners) -> None:
    chain = Chain()
    plain = model.Listener("x", model.SocketAddress("127.0.0.1"))
    assert listeners.apply({"x": ListenerRuntime(plain, (chain,))}) == {}
    port = listeners.addresses["x"][1]
    here = model.SocketAddress("127.0.0.1", port)
    for options in ((), (KEEPALIVE,), (KEEPALIVE,), ()):
        config = model.Listener("x", here, socket_options=options)
        assert listeners.apply({"x": ListenerRuntime(config, (chain,))}) == {}
        assert listeners.addresses["x"][1] == port
        await met(port, chain, len(chain.kept_alive) + 1)
    assert chain.kept_alive == [False, True, True, False]


async def test_a_socket_that_shares_its_port_takes_the_place_of_the_former(
    listeners: Listeners,
) -> None:
    shared = SocketOption(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    former, chain = Chain(), Chain()
    config = model.Listener("x", model.SocketAddress("127.0.0.1"), socket_options=(shared,))
    assert listeners.apply({"x": ListenerRuntime(config, (former,))}) == {}
    port = listeners.addresses["x"][1]
    here = model.SocketAddress("127.0.0.1", port)
    for options, one in (((shared,), former), ((shared, KEEPALIVE), chain)):
        config = model.Listener("x", here, socket_options=options)
        assert listeners.apply({"x": ListenerRuntime(config, (one,))}) == {}
    for count in range(1, 21):  # the kernel would give half of them to the other one
        await met(port, chain, count)
    assert not former.kept_alive


@pytest.mark.parametrize(
    ("tls", "http"), [(True, False), (False, True), (True, True)], ids=["tls", "http", "both"]
)
async def test_nobody_waits_at_a_port_that_no_inspector_is_for(
    listeners: Listeners, tls: bool, http: bool
) -> None:
    chain = Chain()
    config = model.Listener(
        "x",
        model.SocketAddress("127.0.0.1"),
        tls_inspector=tls,
        http_inspector=http,
        not_for_tls=EVERY_PORT if tls else (),
        not_for_http=EVERY_PORT if http else (),
    )
    assert listeners.apply({"x": ListenerRuntime(config, (chain,))}) == {}
    await met(listeners.addresses["x"][1], chain, 1)


@pytest.mark.parametrize("which", ["tls", "http"])
def test_an_inspector_looks_at_all_other_ports(which: str) -> None:
    config = model.Listener(
        "x",
        model.SocketAddress("127.0.0.1"),
        tls_inspector=True,
        http_inspector=True,
        not_for_tls=((80, 81), (90, 100)),
        not_for_http=((80, 81), (90, 100)),
    )
    runtime = ListenerRuntime(config, (Chain(),))
    looks = runtime.looks_for_tls if which == "tls" else runtime.looks_for_http
    found = [port for port in (79, 80, 81, 89, 90, 99, 100) if looks(port)]
    assert found == [79, 81, 89, 100]
