"""The four forms of calls, their ends and their facts, as a client of grpc.aio sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.controlplane.rpc.serving import SERVICE, Channel, Echo, serving
from tests.support.wait import eventually_async

TIMEOUT_S = 60


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    async with serving() as (made, port, _):
        yield made, port


@pytest.fixture
async def channel(echo: tuple[Echo, int]) -> AsyncIterator[Channel]:
    # Windows as small as they may be, so that a client that does not read holds its stream up soon.
    options = (
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65536),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{echo[1]}", options) as made:
        yield made


def unary(channel: Channel, method: str = "One") -> Any:
    return channel.unary_unary(f"/{SERVICE}/{method}")


async def test_the_four_forms(channel: Channel) -> None:
    assert await unary(channel)(b"hello", timeout=TIMEOUT_S) == b"hello"
    many = channel.unary_stream(f"/{SERVICE}/Many")(b"3", timeout=TIMEOUT_S)
    assert [each async for each in many] == [b"0", b"1", b"2"]

    async def five() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x"

    assert await channel.stream_unary(f"/{SERVICE}/Count")(five(), timeout=TIMEOUT_S) == b"5"
    for method in ("Chat", "Writes", "Each"):
        chat = channel.stream_stream(f"/{SERVICE}/{method}")(timeout=TIMEOUT_S)
        for word in (b"a", b"", b"c"):
            await chat.write(word)
            assert await chat.read() == word
        await chat.done_writing()
        assert await chat.read() is grpc.aio.EOF  # type: ignore[attr-defined]
        assert await chat.code() is grpc.StatusCode.OK


async def test_metadata_both_ways(echo: tuple[Echo, int], channel: Channel) -> None:
    metadata = (("who", "me"), ("who", "too"), ("raw-bin", b"\0\xff,"))
    call = unary(channel)(b"x", metadata=metadata, timeout=TIMEOUT_S)
    assert await call == b"x"
    assert ("ahead", "of it") in tuple(await call.initial_metadata())
    assert ("behind", "it") in tuple(await call.trailing_metadata())
    (context,) = echo[0].contexts
    heard = [pair for pair in context.invocation_metadata() if pair[0] != "user-agent"]
    assert heard == list(metadata)
    assert context.peer().startswith("ipv4:127.0.0.1:")
    assert context.auth_context() == {}


async def test_a_call_that_is_aborted(channel: Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unary(channel)(b"abort", timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "100 % nö\n"
    trailing: Any = caught.value.trailing_metadata()
    assert tuple(trailing) == (("why", "so"), ("why-bin", b"\0\1"))


@pytest.mark.parametrize(
    ("method", "request_", "code", "details"),
    [
        ("One", b"set", "ABORTED", "set"),
        ("One", b"fail", "UNKNOWN", "Unexpected <class 'RuntimeError'>: a bug"),
        ("None", b"", "UNIMPLEMENTED", "there is no method /test.Echo/None"),
    ],
)
async def test_other_ends(
    channel: Channel, method: str, request_: bytes, code: str, details: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unary(channel, method)(request_, timeout=TIMEOUT_S)
    assert (caught.value.code().name, caught.value.details()) == (code, details)
    assert await unary(channel)(b"on", timeout=TIMEOUT_S) == b"on"


async def test_what_takes_messages_may_fail(channel: Channel) -> None:
    chat = channel.stream_stream(f"/{SERVICE}/Each")(timeout=TIMEOUT_S)
    await chat.write(b"fail")
    assert await chat.code() is grpc.StatusCode.UNKNOWN
    assert await unary(channel)(b"on", timeout=TIMEOUT_S) == b"on"


async def test_a_deadline_reaches_the_handler(echo: tuple[Echo, int], channel: Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unary(channel, "Waits")(b"", timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually_async(lambda: "cancelled" in echo[0].seen)


async def test_a_cancelled_call_reaches_the_handler(
    echo: tuple[Echo, int], channel: Channel
) -> None:
    call = unary(channel, "Waits")(b"", timeout=TIMEOUT_S)
    await eventually_async(lambda: echo[0].seen == ["began"])
    (context,) = echo[0].contexts
    assert 0 < (context.time_remaining() or 0) <= TIMEOUT_S + 1
    call.cancel()
    await eventually_async(lambda: echo[0].seen == ["began", "over True", "cancelled"])
    assert context.done()


async def test_a_client_that_goes_cancels_its_calls(echo: tuple[Echo, int]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{echo[1]}") as channel:
        call = unary(channel, "Waits")(b"")
        await eventually_async(lambda: echo[0].seen == ["began"])
    await eventually_async(lambda: "cancelled" in echo[0].seen)
    assert call.cancelled() or call.done()


async def test_large_messages(channel: Channel) -> None:
    """Cut over many frames and windows, both ways."""
    large = bytes(range(256)) * 40_000
    assert await unary(channel)(large, timeout=TIMEOUT_S) == large


async def test_a_message_too_large_is_refused(echo: tuple[Echo, int], channel: Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unary(channel)(bytes((64 << 20) + 1), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "67108865 bytes" in (caught.value.details() or "")


async def test_compressed_messages_are_not_unpacked(echo: tuple[Echo, int]) -> None:
    address = f"127.0.0.1:{echo[1]}"
    for how in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        async with grpc.aio.insecure_channel(address, compression=how) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await unary(channel)(b"x" * 9999, timeout=TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "send them uncompressed" in (caught.value.details() or "")


async def test_nothing_comes_between_what_is_said_at_once(channel: Channel) -> None:
    call = channel.stream_stream(f"/{SERVICE}/Pairs")(timeout=TIMEOUT_S)
    for letter in (b"a", b"b"):
        await call.write(letter)
        assert [await call.read(), await call.read()] == [letter * 20_000] * 2
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]


async def test_a_slow_reader_holds_up_only_its_own_stream(
    echo: tuple[Echo, int], channel: Channel
) -> None:
    slow = channel.unary_stream(f"/{SERVICE}/Floods")(b"200", timeout=TIMEOUT_S)
    sizes = [len(await slow.read())]
    for _ in range(20):
        assert await unary(channel)(b"quick", timeout=TIMEOUT_S) == b"quick"
    assert len(echo[0].seen) < 199  # its handler waits
    while (each := await slow.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
        sizes.append(len(each))
    assert sizes == [65536] * 200


async def test_many_calls_at_a_time(channel: Channel) -> None:
    """More than a connection may have: the client lets the others wait."""
    calls = [unary(channel)(b"%d" % number, timeout=TIMEOUT_S) for number in range(400)]
    assert await asyncio.gather(*calls) == [b"%d" % number for number in range(400)]
