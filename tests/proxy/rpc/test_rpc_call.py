"""Calls to a real gRPC server: grpc.aio on loopback, plaintext and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from proxy.http.grpc import RpcError
from proxy.rpc.call import Call
from proxy.rpc.connection import open_call
from proxy.rpc.credentials import client_tls
from tests.support.pki import Authority
from tests.support.wait import eventually_async

Context = grpc.aio.ServicerContext[bytes, bytes]
MEGABYTE = 1024 * 1024


class Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # the stub and the class differ
    """/test/Echo sends everything back; /test/Deny refuses; /test/Flood sends 64 messages of 1 MB;
    /test/Metadata answers with what the call was made with."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = getattr(self, details.method.rpartition("/")[2].lower(), None)
        if method is None:
            return None
        return grpc.stream_stream_rpc_method_handler(method)

    async def echo(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    async def deny(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you: 100 %")
        yield b""

    async def flood(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        for number in range(64):
            yield bytes([number]) * MEGABYTE

    async def metadata(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        yield repr(sorted(context.invocation_metadata() or ())).encode()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def call(address: str, method: str, **options: object) -> Call:
    path = f"/test/{method}"
    return await open_call(address, path, tls=None, authority="test", **options)  # type: ignore[arg-type]


async def test_messages_both_ways(address: str) -> None:
    echo = await call(address, "Echo", max_message_bytes=16 * MEGABYTE)
    for message in (b"", b"hello", b"x" * 10 * MEGABYTE):  # far more than either window
        await echo.send(message)
        assert await echo.receive() == message
    await echo.send(b"last", end=True)
    assert await echo.receive() == b"last"
    assert await echo.receive() is None
    with pytest.raises(RpcError, match="UNAVAILABLE: the server has ended the call"):
        await echo.send(b"too late")
    echo.close()


async def test_a_server_that_says_more_than_is_taken(address: str) -> None:
    """Reading stops in between, and nothing is lost."""
    flood = await call(address, "Flood")
    got = []
    while (message := await flood.receive()) is not None:
        got.append(message[0])
        assert flood._waiting_bytes < 16 * MEGABYTE
        await asyncio.sleep(0)
    assert got == list(range(64))
    flood.close()


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("Deny", "PERMISSION_DENIED: not for you: 100 %"),
        ("Nobody", "UNIMPLEMENTED"),
    ],
)
async def test_refusals(address: str, method: str, text: str) -> None:
    refused = await call(address, method)
    with pytest.raises(RpcError) as caught:
        await refused.receive()
    assert str(caught.value).startswith(text)
    refused.close()


async def test_a_message_that_is_too_long(address: str) -> None:
    echo = await call(address, "Echo", max_message_bytes=1000)
    await echo.send(b"x" * 2000)
    with pytest.raises(RpcError, match="RESOURCE_EXHAUSTED"):
        await echo.receive()
    echo.close()


async def test_metadata_goes_along(address: str) -> None:
    told = await call(address, "Metadata", metadata=(("authorization", "Bearer x"),))
    assert b"key='authorization', value='Bearer x'" in (await told.receive() or b"")
    told.close()


async def test_nobody_there(address: str) -> None:
    with pytest.raises(RpcError, match="UNAVAILABLE: 127"):
        await call("127.0.0.1:1", "Echo")


async def test_a_server_that_goes_away() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    echo = await call(f"127.0.0.1:{port}", "Echo")
    await echo.send(b"hello")
    assert await echo.receive() == b"hello"
    await server.stop(None)
    with pytest.raises(RpcError):
        await echo.receive()
    echo.close()


async def test_a_server_that_is_no_grpc_server() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    lost = await call(f"127.0.0.1:{port}", "Echo")
    with pytest.raises(RpcError):
        await lost.receive()
    lost.close()
    server.close()
    await server.wait_closed()


async def test_a_call_beside_another_on_the_same_connection(address: str) -> None:
    first = await call(address, "Echo")
    second = first.beside("/test/Metadata", (("authorization", "Bearer y"),))
    assert b"key='authorization', value='Bearer y'" in (await second.receive() or b"")
    assert await second.receive() is None
    second.close()
    third = first.beside("/test/Echo", max_message_bytes=1000)
    third.close()  # in its midst: the connection stays, and nothing of it reaches the first
    with pytest.raises(RpcError, match="CANCELLED"):
        await third.receive()
    denied = first.beside("/test/Deny")
    with pytest.raises(RpcError, match="PERMISSION_DENIED"):
        await denied.receive()
    await first.send(b"still here", end=True)
    assert await first.receive() == b"still here"
    assert await first.receive() is None
    first.close()


async def test_messages_that_nobody_takes_leave_room_for_others(address: str) -> None:
    flood = await call(address, "Flood")
    await eventually_async(lambda: flood._waiting_bytes >= 4 * MEGABYTE, what="a shut window")
    echo = flood.beside("/test/Echo", max_message_bytes=4 * MEGABYTE)
    for _ in range(3):
        await echo.send(b"x" * 3 * MEGABYTE)
        assert len(await echo.receive() or b"") == 3 * MEGABYTE
    echo.close()
    got = [await flood.receive() for _ in range(64)]
    assert [message[0] for message in got if message] == list(range(64))
    flood.close()


async def test_calls_end_with_the_one_that_the_connection_was_made_for(address: str) -> None:
    first = await call(address, "Echo")
    second = first.beside("/test/Echo")
    first.close()
    with pytest.raises(RpcError, match="CANCELLED: closed by us"):
        await second.receive()
    with pytest.raises(RpcError, match="UNAVAILABLE: the connection takes no more calls"):
        first.beside("/test/Echo")
    second.close()


class TestTls:
    @pytest.mark.parametrize(
        ("name", "roots", "why"),
        [
            ("server.test", "own", None),
            ("other.test", "own", "names do not match"),
            ("server.test", "foreign", "the certificate is not trusted"),
        ],
    )
    async def test_who_is_believed(self, name: str, roots: str, why: str | None) -> None:
        authority = Authority()
        issued = authority.issue(dns=("server.test",))
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Echo(),))
        pair = (issued.key.encode(), issued.certificate.encode())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        await server.start()
        root = (authority if roots == "own" else Authority()).pem.encode()
        address = f"127.0.0.1:{port}"
        tls = client_tls(address, root, name, None, None)
        try:
            if why is None:
                echo = await open_call(address, "/test/Echo", tls=tls, authority=name)
                await echo.send(b"hello")
                assert await echo.receive() == b"hello"
                echo.close()
            else:
                with pytest.raises(RpcError, match=why):
                    await open_call(address, "/test/Echo", tls=tls, authority=name)
        finally:
            await server.stop(None)

    def test_material_that_is_no_good(self) -> None:
        with pytest.raises(RpcError, match="UNAVAILABLE"):
            client_tls("a.test:1", b"no PEM", "", None, None)
