"""The known floods of HTTP/2: each ends its connection, and nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from tests.controlplane.rpc.serving import SERVICE, serving
from tests.controlplane.rpc.test_rpc_hostile import Raw, framed

DATA, HEADERS, PRIORITY, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 4, 6, 8, 9
EACH_MANY = 20_000


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def open_stream(client: Raw) -> bytes:
    client.begin(path=f"/{SERVICE}/Chat")
    return client.h2.data_to_send()


FLOODS = {
    # CVE-2024-27316 and others: a block without an end.
    "CONTINUATION": frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3, b"\0" * 100) * EACH_MANY,
    "empty CONTINUATION": frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3) * EACH_MANY,
    # CVE-2019-9512, 9515, 9518.
    "PING": frame(PING, 0, 0, b"12345678") * EACH_MANY,
    "SETTINGS": frame(SETTINGS, 0, 0) * EACH_MANY,
    "empty DATA": frame(DATA, 0, 1) * EACH_MANY,
    # CVE-2019-9513.
    "PRIORITY": frame(PRIORITY, 0, 5, bytes(5)) * EACH_MANY,
    "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * EACH_MANY,
}


@pytest.mark.parametrize("name", sorted(FLOODS))
async def test_a_flood_ends_its_connection(name: str) -> None:
    async with serving() as (_, port, _server):
        hostile, other = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        hostile._writer.write(open_stream(hostile) + FLOODS[name])
        await hostile.ended()
        assert await other.one(b"on") == framed(b"on")
        for client in (hostile, other):
            client.close()


async def test_streams_that_make_us_reset_them_are_a_flood() -> None:
    """CVE-2025-8671: the client says what is no stream's, so that we do the resetting."""
    async with serving() as (echo, port, _server):
        client = Raw(*await asyncio.open_connection("127.0.0.1", port))
        for _ in range(600):
            stream = client.begin(path=f"/{SERVICE}/Waits")
            client.h2.send_data(stream, framed(b""))
            data = client.h2.data_to_send() + frame(WINDOW_UPDATE, 0, stream, bytes(4))
            client.h2.reset_stream(stream)  # h2 forgets it, and says nothing of that
            client.h2.clear_outbound_data_buffer()
            client._writer.write(data)
        await client.ended()
        assert len(echo.seen) < 1800
        client.close()
