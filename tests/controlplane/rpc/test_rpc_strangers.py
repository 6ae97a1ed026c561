"""What callers may send before anybody knows who they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import h2.events

from controlplane.rpc.limits import DEFAULT_LIMITS
from tests.controlplane.rpc.serving import SERVICE, Known
from tests.controlplane.rpc.test_rpc_hostile import Raw, framed, raw

LONG = bytes(100_000)
ANNOUNCED = framed(LONG)[:1000]
GUESTS = Known("good")


async def told_windows(client: Raw) -> None:
    client.send()
    await client.until(h2.events.RemoteSettingsChanged)


async def sizes(client: Raw, stream: int) -> bytes:
    event = await client.until(h2.events.DataReceived, h2.events.TrailersReceived)
    assert isinstance(event, h2.events.DataReceived), event
    return event.data or b""


async def test_a_long_message_of_a_stranger_is_refused_by_its_length() -> None:
    async with raw(guests=GUESTS) as (echo, client):
        for token in ("none", "bad"):
            stream = client.begin(token=token)
            client.h2.send_data(stream, ANNOUNCED)
            client.send()
            answer = await client.answered(stream)
            assert answer[b"grpc-status"] == b"8"
            assert b"the most is 65536 of a caller that has proven" in answer[b"grpc-message"]
        assert not echo.contexts
        assert await client.one(b"short") == framed(b"short")


async def test_one_with_credentials_may_send_it() -> None:
    async with raw(guests=GUESTS) as (_, client):
        await told_windows(client)
        stream = client.begin(token="good", path=f"/{SERVICE}/Count")
        for part in range(0, len(framed(LONG)), 10_000):
            client.h2.send_data(stream, framed(LONG)[part : part + 10_000])
            client.send()
            await asyncio.sleep(0)
        client.h2.send_data(stream, framed(b"x"), end_stream=True)
        client.send()
        assert await sizes(client, stream) == framed(b"2")


async def test_a_stream_waits_until_its_caller_is_known() -> None:
    """Only what its window holds."""
    async with raw(guests=GUESTS) as (echo, client):
        await told_windows(client)
        stream = client.begin(path=f"/{SERVICE}/Believes")
        message = framed(bytes(300_000))
        sent = 0
        while (room := client.h2.local_flow_control_window(stream)) > 0:
            client.h2.send_data(stream, message[sent : sent + min(room, 16_384)])
            sent += min(room, 16_384)
            client.send()
        client.h2.ping(b"12345678")
        client.send()
        await client.until(h2.events.PingAckReceived)
        assert client.h2.local_flow_control_window(stream) == 0
        echo.gate.set()
        await client.until(h2.events.WindowUpdated)
        client.h2.send_data(stream, message[sent : sent + 16_384])
        client.h2.send_data(stream, message[sent + 16_384 : sent + 32_768])
        client.h2.send_data(stream, message[sent + 32_768 :] + framed(b"x"), end_stream=True)
        client.send()
        assert await sizes(client, stream) + await sizes(client, stream) == (
            framed(b"300000") + framed(b"1")
        )


async def test_a_stream_that_takes_strangers_takes_no_long_messages() -> None:
    async with raw(guests=GUESTS) as (_, client):
        for method in ("Count", "Each", "Writes"):
            stream = client.begin(path=f"/{SERVICE}/{method}")
            client.h2.send_data(stream, ANNOUNCED)
            client.send()
            answer = await client.answered(stream)
            assert answer[b"grpc-status"] == b"8", method
            assert b"that has proven nothing" in answer[b"grpc-message"]


async def test_half_messages_that_wait_for_proof_are_counted() -> None:
    limits = replace(DEFAULT_LIMITS, max_partial_bytes=1500)
    async with raw(limits, GUESTS) as (_, client):
        streams = [client.begin(path=f"/{SERVICE}/Believes") for _ in range(2)]
        for stream in streams:
            client.h2.send_data(stream, ANNOUNCED)
        client.send()
        assert (await client.answered(streams[1]))[b"grpc-status"] == b"8"
