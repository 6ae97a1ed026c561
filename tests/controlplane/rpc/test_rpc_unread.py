"""Clients that do not read what they are told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import h2.events
import h2.settings
import pytest

from controlplane.rpc.limits import DEFAULT_LIMITS
from controlplane.rpc.unread import Unread
from proxy.http.h2.errors import ENHANCE_YOUR_CALM
from tests.controlplane.rpc.serving import SERVICE, Echo, serving
from tests.controlplane.rpc.test_rpc_hostile import Raw, framed, raw
from tests.support.wait import eventually_async


async def shut(client: Raw) -> None:
    """Streams that are begun from now on have no window."""
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.send()
    await client.until(h2.events.SettingsAcknowledged)
    await client.until(h2.events.SettingsAcknowledged)


def ask(client: Raw, method: str, message: bytes) -> int:
    stream = client.begin(path=f"/{SERVICE}/{method}")
    client.h2.send_data(stream, framed(message), end_stream=True)
    client.send()
    return stream


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.rpc.server.SWEEP_S", 0.01)


@pytest.mark.parametrize("method", ["One", "Floods"])
async def test_a_stream_that_nobody_reads_is_reset(method: str) -> None:
    """Also one that is over but for what was said."""
    async with raw(replace(DEFAULT_LIMITS, unread_s=0.1)) as (echo, client):
        await shut(client)
        stream = ask(client, method, b"9")
        await client.until(h2.events.ResponseReceived)
        event = await client.until(h2.events.StreamReset)
        assert isinstance(event, h2.events.StreamReset)
        assert (event.stream_id, event.error_code) == (stream, ENHANCE_YOUR_CALM)
        if method == "Floods":
            assert echo.seen == []  # it waits for room, and is told of the end


def test_whoever_takes_a_little_reads() -> None:
    unread = Unread(1000, 0.0)
    assert unread.for_s(1000, 20.0) == 20.0
    assert unread.for_s(999, 29.0) == 0.0
    assert unread.for_s(999, 40.0) == 11.0


async def test_what_one_client_has_waiting_is_bounded_over_its_connections() -> None:
    limits = replace(DEFAULT_LIMITS, max_queued_bytes=1000)
    async with serving(limits) as (echo, port, _server):
        greedy, other = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        await shut(greedy)
        stream = ask(greedy, "One", b"x" * 2000)
        await greedy.until(h2.events.ResponseReceived)
        waits = ask(other, "One", b"waits")
        other.h2.ping(b"12345678")
        other.send()
        await other.until(h2.events.PingAckReceived)
        assert len(echo.contexts) == 1
        greedy.h2.increment_flow_control_window(3000, stream)
        greedy.send()
        event = await other.until(h2.events.DataReceived)
        assert isinstance(event, h2.events.DataReceived)
        assert (event.stream_id, event.data) == (waits, framed(b"waits"))
        for client in (greedy, other):
            client.close()


async def test_in_a_crowd_a_neighbour_that_reads_is_heard() -> None:
    """A stranger's behind the same NAT: it may want its first certificate."""
    limits = replace(DEFAULT_LIMITS, max_queued_bytes=1000)
    async with serving(limits) as (echo, port, _server):
        greedy, other = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        await shut(greedy)
        streams = [ask(greedy, "One", b"x" * 1500)]
        await greedy.until(h2.events.ResponseReceived)
        streams.append(ask(greedy, "One", b"waits"))
        greedy.h2.ping(b"12345678")
        greedy.send()
        await greedy.until(h2.events.PingAckReceived)
        assert await other.one(b"heard") == framed(b"heard")
        assert len(echo.contexts) == 2
        for stream in streams:
            greedy.h2.increment_flow_control_window(3000, stream)
        greedy.send()
        for stream in streams:
            event = await greedy.until(h2.events.StreamEnded)
            assert isinstance(event, h2.events.StreamEnded)
            assert event.stream_id == stream
        for client in (greedy, other):
            client.close()


async def test_a_client_that_goes_leaves_room_for_its_others() -> None:
    limits = replace(DEFAULT_LIMITS, max_queued_bytes=1000)
    async with serving(limits) as (_, port, _server):
        greedy, other = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        await shut(greedy)
        ask(greedy, "One", b"x" * 2000)
        await greedy.until(h2.events.ResponseReceived)
        greedy.close()
        assert await other.one(b"x") == framed(b"x")
        other.close()


async def test_a_call_is_drained_when_all_was_read_or_the_client_goes() -> None:
    async with serving() as (echo, port, _server):
        reads, goes = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        for client in (reads, goes):
            await shut(client)
            ask(client, "One", b"x" * 100)
            await client.until(h2.events.ResponseReceived)
        await eventually_async(lambda: all(each.done() for each in echo.contexts))
        drained = noted(echo)
        assert drained == []
        reads.h2.increment_flow_control_window(1000, 1)
        reads.send()
        await eventually_async(lambda: drained == [0])
        goes.close()
        await eventually_async(lambda: drained == [0, 1])
        echo.contexts[0].call.when_drained(lambda: drained.append(2))
        assert drained == [0, 1, 2]
        reads.close()


def noted(echo: Echo) -> list[int]:
    """Which calls are drained, in order."""
    drained: list[int] = []
    for number, context in enumerate(echo.contexts):
        context.call.when_drained(partial(drained.append, number))
    return drained
