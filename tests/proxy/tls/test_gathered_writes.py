"""Several connections are ready at once: their answers go out when all were heard, and whole."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from proxy.config import model
from proxy.tls.contexts import server_context
from proxy.tls.handshake import Handshake
from proxy.tls.transport import TlsTransport
from proxy.transport.watch import watch_of
from tests.support.pki import Authority
from tests.support.tls import accepting, certificate, python_client

ROOT = Authority()
SERVER = ROOT.issue(dns=("server.test",))
Reaction = Callable[[TlsTransport], None]


class Answers(asyncio.Protocol):
    """Does `react` upon what it hears. waited: how much was not sent when it had."""

    def __init__(self, react: Reaction) -> None:
        self.react = react
        self.waited: list[int] = []
        self.lost = asyncio.Event()
        self.calls: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = cast(TlsTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.react(self.transport)
        self.waited.append(self.transport.get_write_buffer_size())

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Client:
    """Of Python's own TLS. It reads in the loop's executor: nothing of it is ready with ours."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock

    async def all(self) -> bytes:
        """Until the end."""
        return await asyncio.to_thread(self._all)

    def _all(self) -> bytes:
        found = b""
        while piece := self.sock.recv(65536):
            found += piece
        return found


@asynccontextmanager
async def two(react: Reaction) -> AsyncIterator[tuple[list[Answers], list[Client]]]:
    """Connections that have answered once, and are then asked at the same time."""
    loop = asyncio.get_running_loop()
    common = model.CommonTls(certificates=(certificate(SERVER),))
    tls = server_context(model.DownstreamTls(common), {})
    served: list[Answers] = []

    def accept(sock: socket.socket) -> None:
        one = Answers(lambda transport: transport.write(b"."))
        served.append(one)
        Handshake(loop, sock, tls.session(), lambda _: one, lambda _: None, 1.0)

    context = python_client(ROOT)
    clients: list[Client] = []
    async with AsyncExitStack() as stack:
        port = stack.enter_context(accepting(accept))
        for _ in range(2):
            sock = await asyncio.to_thread(_connected, context, port)
            clients.append(Client(stack.enter_context(sock)))
        for one in served:
            one.react = react
            one.waited.clear()
            stack.callback(one.transport.abort)
        for client in clients:  # the loop does not turn before all is there
            client.sock.sendall(b"?")
        _all_ready([one.transport.get_extra_info("socket") for one in served])
        yield served, clients


def _all_ready(socks: list[socket.socket]) -> None:
    for sock in socks:
        assert select.select([sock], [], [], 60)[0]


def _connected(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock = context.wrap_socket(plain, server_hostname="server.test")
    sock.sendall(b"?")
    assert sock.recv(1) == b"."
    return sock


async def test_what_is_said_waits_and_goes_out_before_the_end() -> None:
    def react(transport: TlsTransport) -> None:
        transport.write(b"one")
        transport.writelines([b" and", b" two"])
        transport.close()
        transport.write(b"nothing any more")

    async with two(react) as (served, clients):
        assert [await client.all() for client in clients] == [b"one and two"] * 2
        assert [one.waited for one in served] == [[11], [11]]
        for one in served:
            await asyncio.wait_for(one.lost.wait(), 30)


async def test_a_direction_ends_behind_what_waits() -> None:
    def react(transport: TlsTransport) -> None:
        transport.write(b"last")
        transport.write_eof()

    async with two(react) as (served, clients):
        assert [await client.all() for client in clients] == [b"last"] * 2
        assert not any(one.lost.is_set() for one in served)


async def test_who_breaks_off_says_nothing_of_what_waits() -> None:
    def react(transport: TlsTransport) -> None:
        transport.write(b"lost")
        transport.abort()

    async with two(react) as (served, clients):
        for one in served:
            await asyncio.wait_for(one.lost.wait(), 30)
        assert [await client.all() for client in clients] == [b""] * 2
        assert not watch_of(asyncio.get_running_loop()).late


async def test_much_is_not_kept_waiting_and_pieces_hold_whoever_writes_back() -> None:
    piece, many = b"x" * 8192, 10  # above the mark where writing pauses

    def react(transport: TlsTransport) -> None:
        for _ in range(many):
            transport.write(piece)
        transport.close()

    async with two(react) as (served, clients):
        assert [len(await client.all()) for client in clients] == [many * len(piece)] * 2
        assert [one.waited for one in served] == [[many * len(piece)]] * 2
        assert [one.calls for one in served] == [["pause", "resume"]] * 2

    async with two(lambda transport: transport.write(b"y" * 16384)) as (served, clients):
        for client in clients:
            assert await asyncio.to_thread(client.sock.recv, 1) == b"y"
        assert [one.waited for one in served] == [[0], [0]]
