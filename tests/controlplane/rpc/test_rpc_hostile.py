"""Clients that speak raw HTTP/2, none of them well."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import h2.connection
import h2.events
import pytest

from controlplane.rpc.guests import Guests
from controlplane.rpc.limits import DEFAULT_LIMITS, Limits
from controlplane.rpc.server import Server
from proxy.http.h2.errors import ENHANCE_YOUR_CALM, PROTOCOL_ERROR
from tests.controlplane.rpc.serving import SERVICE, Echo, serving
from tests.support.wait import eventually_async

TIMEOUT_S = 60
HEAD = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "x"),
    (":path", f"/{SERVICE}/One"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


class Raw:
    """A client by h2, which is told to check nothing of what it sends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._events: deque[h2.events.Event] = deque()
        self.h2 = h2.connection.H2Connection()
        self.h2.config.validate_outbound_headers = False
        self.h2.config.normalize_outbound_headers = False
        self.h2.initiate_connection()

    @property
    def port(self) -> int:
        number: int = self._writer.get_extra_info("peername")[1]
        return number

    def close(self) -> None:
        self._writer.transport.abort()

    def send(self) -> None:
        self._writer.write(self.h2.data_to_send())

    def begin(self, **changed: str) -> int:
        stream = self.h2.get_next_available_stream_id()
        words = dict(HEAD)
        for name, value in changed.items():
            words[f":{name}" if name in ("method", "path") else name.replace("_", "-")] = value
        self.h2.send_headers(stream, list(words.items()))
        return stream

    async def until(self, *kinds: type) -> h2.events.Event:
        """The first event of one of these kinds."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                while self._events:
                    event = self._events.popleft()
                    if isinstance(event, kinds):
                        return event
                data = await self._reader.read(65536)
                assert data, "the connection is over"
                self._events += self.h2.receive_data(data)
                self.send()

    async def ended(self) -> None:
        """Reads until the server has closed the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                while await self._reader.read(65536):
                    pass
            except ConnectionError:
                pass

    async def answered(self, stream: int) -> dict[bytes, bytes]:
        """The headers with which the server has ended the stream, or begun it."""
        event = await self.until(h2.events.TrailersReceived, h2.events.ResponseReceived)
        assert isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived)
        assert event.stream_id == stream
        return dict(event.headers or ())

    async def one(self, message: bytes) -> bytes:
        """A good call."""
        stream = self.begin()
        self.h2.send_data(stream, framed(message), end_stream=True)
        self.send()
        event = await self.until(h2.events.DataReceived)
        assert isinstance(event, h2.events.DataReceived)
        await self.until(h2.events.StreamEnded)
        return event.data or b""


@asynccontextmanager
async def raw(
    limits: Limits = DEFAULT_LIMITS, guests: Guests | None = None
) -> AsyncIterator[tuple[Echo, Raw]]:
    async with serving(limits, guests=guests) as (echo, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield echo, Raw(reader, writer)
        finally:
            writer.transport.abort()


async def test_a_good_call() -> None:
    async with raw() as (_, client):
        assert await client.one(b"x") == framed(b"x")


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"content_type": "application/json"}, {b":status": b"415"}),
        ({"content_type": "application/grpc-web"}, {b":status": b"415"}),
        ({"method": "GET"}, {b":status": b"405", b"allow": b"POST"}),
        ({"path": "/none"}, {b":status": b"200", b"grpc-status": b"12"}),
        ({"grpc_timeout": "1x"}, {b"grpc-status": b"13"}),
        ({"grpc_timeout": "123456789S"}, {b"grpc-status": b"13"}),
        ({"grpc_encoding": "snappy"}, {b"grpc-status": b"12"}),
        ({"raw_bin": "%"}, {b"grpc-status": b"13"}),
        ({"content_type": "application/grpc+proto"}, {b":status": b"200"}),
    ],
)
async def test_heads(changed: dict[str, str], wanted: dict[bytes, bytes]) -> None:
    async with raw() as (_, client):
        stream = client.begin(**changed)
        client.h2.send_data(stream, framed(b"x"), end_stream=True)
        client.send()
        answer = await client.answered(stream)
        assert wanted.items() <= answer.items()
        if answer[b":status"] == b"200" and b"grpc-status" in answer:
            assert answer[b"grpc-accept-encoding"] == b"identity"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\1\0\0\0\1x", b"13"),  # compressed, and not said how
        (b"\2\0\0\0\1x", b"13"),
        (b"\0\xff\xff\xff\xffx", b"8"),  # 4 GB are announced
        (b"", b"13"),  # no message at all
        (b"\0\0\0\0\5x", b"13"),  # cut off
    ],
)
async def test_messages(data: bytes, status: bytes) -> None:
    async with raw() as (echo, client):
        stream = client.begin()
        client.h2.send_data(stream, data, end_stream=True)
        client.send()
        assert (await client.answered(stream))[b"grpc-status"] == status
        assert await client.one(b"on") == framed(b"on")
        assert len(echo.contexts) == 1


@pytest.mark.parametrize("method", ["Turns", "Works"])
async def test_many_messages_at_once_leave_others_their_turns(method: str) -> None:
    async with raw() as (_, client):
        stream = client.begin(path=f"/{SERVICE}/{method}")
        client.h2.send_data(stream, framed(b"") * 20, end_stream=True)
        client.send()
        event = await client.until(h2.events.DataReceived)
        assert isinstance(event, h2.events.DataReceived) and event.data
        assert int(event.data[5:]) >= 19


async def test_a_message_in_single_bytes() -> None:
    async with raw() as (_, client):
        stream = client.begin()
        for byte in framed(b"slowly"):
            client.h2.send_data(stream, bytes((byte,)))
            client.send()
            await asyncio.sleep(0)
        client.h2.end_stream(stream)
        client.send()
        event = await client.until(h2.events.DataReceived)
        assert isinstance(event, h2.events.DataReceived)
        assert event.data == framed(b"slowly")


async def test_no_http2_at_all() -> None:
    async with serving() as (_, port, _server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(TIMEOUT_S):
            while await reader.read(65536):
                pass
        writer.transport.abort()


async def test_streams_that_are_opened_to_be_reset_end_the_connection() -> None:
    async with raw() as (echo, client):
        for _ in range(600):
            stream = client.begin(path=f"/{SERVICE}/Waits")
            client.h2.send_data(stream, framed(b""))
            client.h2.reset_stream(stream, 8)
        client.send()
        await client.ended()
        assert len(echo.seen) < 1800


async def test_more_streams_than_allowed_are_refused() -> None:
    async with raw(replace(DEFAULT_LIMITS, max_streams=2)) as (_, client):
        client.h2.remote_settings.max_concurrent_streams = 100
        streams = [client.begin(path=f"/{SERVICE}/Chat") for _ in range(3)]
        client.send()
        event = await client.until(h2.events.StreamReset)
        assert isinstance(event, h2.events.StreamReset)
        assert (event.stream_id, event.error_code) == (streams[2], 7)


async def test_pings_without_end_are_too_many() -> None:
    async with raw() as (_, client):
        for _ in range(5):
            client.h2.ping(b"12345678")
        client.send()
        event = await client.until(h2.events.ConnectionTerminated)
        assert isinstance(event, h2.events.ConnectionTerminated)
        assert event.error_code == ENHANCE_YOUR_CALM
        assert event.additional_data == b"too_many_pings"
        await client.ended()


async def test_a_ping_beside_messages_is_no_offence() -> None:
    async with raw() as (_, client):
        for _ in range(10):
            client.h2.ping(b"12345678")
            assert await client.one(b"x") == framed(b"x")


async def test_half_messages_are_bounded_over_all_streams() -> None:
    async with raw(replace(DEFAULT_LIMITS, max_partial_bytes=1000)) as (_, client):
        streams = [client.begin() for _ in range(3)]
        for stream in streams:
            client.h2.send_data(stream, b"\0\0\0\xff\xff" + bytes(400))
        client.send()
        assert (await client.answered(streams[2]))[b"grpc-status"] == b"8"
        assert await client.one(b"on") == framed(b"on")


async def test_half_messages_are_bounded_over_all_connections() -> None:
    limits = replace(DEFAULT_LIMITS, max_held_bytes=1000)
    async with serving(limits) as (_, port, _server):
        clients = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        for client in clients:
            stream = client.begin()
            client.h2.send_data(stream, b"\0\0\0\xff\xff" + bytes(600))
            client.send()
            await client.until(h2.events.SettingsAcknowledged)
        assert (await clients[1].answered(1))[b"grpc-status"] == b"8"
        clients[0].close()
        assert await clients[1].one(b"on") == framed(b"on")
        clients[1].close()


async def test_connections_are_bounded() -> None:
    async with raw(replace(DEFAULT_LIMITS, max_connections=1)) as (_, client):
        assert await client.one(b"believe") == framed(b"believe")
        port = client.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(TIMEOUT_S):
            assert await reader.read() == b""
        writer.close()
        assert await client.one(b"x") == framed(b"x")


async def test_who_has_proven_nothing_gives_way() -> None:
    limits = replace(DEFAULT_LIMITS, max_connections=3)
    async with serving(limits) as (_, port, _server):
        clients = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(3)]
        proven, oldest, younger = clients
        for client in clients:
            assert await client.one(b"x") == framed(b"x")
        assert await proven.one(b"believe") == framed(b"believe")
        late = Raw(*await asyncio.open_connection("127.0.0.1", port))
        await oldest.ended()
        for client in (proven, younger, late):
            assert await client.one(b"x") == framed(b"x")
        for client in (*clients, late):
            client.close()


async def test_a_crowd_at_one_port_leaves_others_their_room() -> None:
    limits = replace(DEFAULT_LIMITS, max_connections=1, max_held_bytes=1000)
    echo, server = Echo(), Server(limits)
    server.add_generic_rpc_handlers((echo.handler(),))
    ports = [server.add_insecure_port("127.0.0.1:0") for _ in range(2)]
    await server.start()
    clients = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for port in ports]
    for client in clients:
        stream = client.begin()
        client.h2.send_data(stream, b"\0\0\0\xff\xff" + bytes(600))
        client.send()
        await client.until(h2.events.SettingsAcknowledged)
        assert await client.one(b"believe") == framed(b"believe")
    late = Raw(*await asyncio.open_connection("127.0.0.1", ports[0]))
    await late.ended()
    for client in (*clients, late):
        client.close()
    await server.stop(0)


async def test_messages_that_nobody_takes_shut_the_window_of_their_stream() -> None:
    async with raw(replace(DEFAULT_LIMITS, max_waiting_bytes=10_000)) as (_, client):
        # Its handler writes what it reads, and we open no window for that.
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stream = client.begin(path=f"/{SERVICE}/Chat")
        client.send()
        await client.until(h2.events.SettingsAcknowledged)
        sent = 0
        while (room := client.h2.local_flow_control_window(stream)) > 5000:
            client.h2.send_data(stream, framed(bytes(5000 - 5)))
            sent += 5000
            client.send()
            await asyncio.sleep(0)
        assert room <= 5000
        assert sent < 600_000
        client.h2.increment_flow_control_window(1_000_000)
        client.h2.increment_flow_control_window(1_000_000, stream)
        client.send()
        got = 0
        while got < sent:
            event = await client.until(h2.events.DataReceived)
            assert isinstance(event, h2.events.DataReceived)
            got += len(event.data or b"")


async def test_a_request_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controlplane.rpc.server.SWEEP_S", 0.01)
    async with raw(replace(DEFAULT_LIMITS, request_s=0.1)) as (echo, client):
        stream = client.begin()
        client.send()
        assert (await client.answered(stream))[b"grpc-status"] == b"4"
        assert not echo.contexts


async def test_a_connection_without_calls_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.rpc.server.SWEEP_S", 0.01)
    async with raw(replace(DEFAULT_LIMITS, unused_s=0.1)) as (_, client):
        client.send()
        event = await client.until(h2.events.ConnectionTerminated)
        assert isinstance(event, h2.events.ConnectionTerminated)
        assert event.error_code == 0
        await client.ended()


async def test_a_client_that_answers_no_ping_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.rpc.server.SWEEP_S", 0.01)
    limits = replace(DEFAULT_LIMITS, ping_after_s=0.1, ping_timeout_s=0.1)
    async with raw(limits) as (echo, client):
        stream = client.begin(path=f"/{SERVICE}/Waits")
        client.h2.send_data(stream, framed(b""), end_stream=True)
        client.send()
        await eventually_async(lambda: "cancelled" in echo.seen)
        await client.ended()


async def test_a_client_that_answers_pings_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.rpc.server.SWEEP_S", 0.01)
    limits = replace(DEFAULT_LIMITS, ping_after_s=0.05, ping_timeout_s=30.0)
    async with raw(limits) as (_, client):
        client.begin(path=f"/{SERVICE}/Chat")
        client.send()
        for _ in range(3):
            await client.until(h2.events.PingReceived)
            client.send()
        assert await client.one(b"x") == framed(b"x")


async def test_garbage_ends_the_connection_and_its_calls() -> None:
    async with raw() as (echo, client):
        stream = client.begin(path=f"/{SERVICE}/Waits")
        client.h2.send_data(stream, framed(b""), end_stream=True)
        client.send()
        await eventually_async(lambda: echo.seen == ["began"])
        client._writer.write(b"\0\0\4\3\0\0\0\0\0" + bytes(4))  # RST_STREAM of stream 0
        event = await client.until(h2.events.ConnectionTerminated)
        assert isinstance(event, h2.events.ConnectionTerminated)
        assert event.error_code == PROTOCOL_ERROR
        await eventually_async(lambda: "cancelled" in echo.seen)
        await client.ended()
