"""Sockets of our own: where they come from, what is set on them, which address is taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.config.model import SocketAddress
from proxy.config.model.connecting import NO_SOCKETS, SocketOption, Sockets, TcpKeepalive
from proxy.upstream.sockets import BindFailed, connected
from tests.support.ports import free_port
from tests.support.wait import eventually_async


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[SocketAddress, list[bytes]]]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield SocketAddress("127.0.0.1", server.sockets[0].getsockname()[1]), heard


async def test_options_and_source() -> None:
    options = Sockets(
        SocketAddress("127.0.0.2"),
        options=(SocketOption(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192),),
        keepalive=TcpKeepalive(probes=3, time_s=11, interval_s=7),
    )
    async with listening() as (address, _):
        with await connected([address], options, b"") as sock:
            assert sock.getsockname()[0] == "127.0.0.2"
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 11
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 16384  # Linux doubles it


async def test_the_source_is_of_the_same_family() -> None:
    options = Sockets(SocketAddress("::1"), (SocketAddress("127.0.0.3"),))
    async with listening() as (address, _):
        with await connected([address], options, b"") as sock:
            assert sock.getsockname()[0] == "127.0.0.3"


async def test_a_source_that_is_not_ours() -> None:
    async with listening() as (address, _):
        with pytest.raises(BindFailed, match=r"failed to bind to 192\.0\.2\.1:0"):
            await connected([address], Sockets(SocketAddress("192.0.2.1")), b"")


async def test_the_preface_comes_first() -> None:
    async with listening() as (address, heard):
        with await connected([address], NO_SOCKETS, b"PROXY"):
            pass
        await eventually_async(lambda: heard == [b"PROXY"], what="the preface")


async def test_the_first_address_that_answers() -> None:
    refused = SocketAddress("127.0.0.1", free_port())
    async with listening() as (address, _):
        with await connected([refused, refused, address], NO_SOCKETS, b"") as sock:
            assert sock.getpeername() == (address.host, address.port)
        with pytest.raises(ConnectionRefusedError):
            await connected([refused, refused], NO_SOCKETS, b"")
