"""What a proxy costs in memory, measured from outside: the resident size of its process.

Each measure starts a proxy by `start` (Envoy's or Weft's) and answers numbers; judging them is the
test's business. Sizes are arguments: small ones in the tests, the issue's own in `__main__`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.differential.configure import Place, bootstrap, placed
from tests.differential.scenario import Scenario, Yaml, read
from tests.support.client import Client
from tests.support.h2_wire import PREFACE, H2Wire
from tests.support.http1 import Message
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually

Starter = Callable[[dict[str, Any], Path], ProxyProcess]
PIECE_BYTES = 1 << 16
MB = 1 << 20
FOR_EVER = [{"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s"}}]


def rss_bytes(pid: int) -> int:
    """The resident size now, of the process alone."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


class Highest:
    """`async with Highest(pid) as seen:` samples the size until the block ends: `seen.grown`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._most = rss_bytes(pid)

    @property
    def grown(self) -> int:
        return self._most - self._before

    async def __aenter__(self) -> Highest:
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._most = max(self._most, rss_bytes(self._pid))

    async def _watch(self) -> None:
        while True:
            self._most = max(self._most, rss_bytes(self._pid))
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    start: Starter, ports: Mapping[str, tuple[int, ...]], **fields: Any
) -> AsyncIterator[tuple[ProxyProcess, int]]:
    """A proxy with one listener before clusters on these ports; the listener's port."""
    with Reservation() as reservation, tempfile.TemporaryDirectory() as folder:
        place = Place("", reservation.port(), ports, Path(folder), Path(folder))
        scenario = placed(_scenario(fields), place)
        proxy = start(bootstrap([(scenario, place)]), Path(folder))
        await asyncio.to_thread(proxy.start)
        try:
            yield proxy, place.port
        finally:
            await asyncio.to_thread(proxy.stop)


def _scenario(fields: Yaml) -> Scenario:
    import yaml

    data = {"about": "memory", "connections": [], "expect": [], **fields}
    return read("memory", "", yaml.safe_dump(data))


# --------------------------------------------------------------------------- large bodies


async def download(start: Starter, body_bytes: int, rate_bytes_s: int, stall_s: float) -> int:
    """Bytes by which the proxy grows while a client that first stalls reads a body slowly."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/warm" in await reader.readuntil(b"\r\n\r\n"):
            await _answer_empty(writer)
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % body_bytes)
        await _pour(writer, body_bytes)
        await _end(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(start, {"a": (port,)}, routes=FOR_EVER) as (proxy, entry):
        await _warm(entry)
        reader, writer = await asyncio.open_connection("127.0.0.1", entry, limit=PIECE_BYTES)
        async with Highest(proxy.pid) as seen:
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head
            await asyncio.sleep(stall_s)
            assert await _drink(reader, body_bytes, rate_bytes_s) == body_bytes
        await _end(writer)
        return seen.grown


async def upload(start: Starter, body_bytes: int, rate_bytes_s: int, stall_s: float) -> int:
    """The same while an upstream that first stalls takes a body slowly."""
    got = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/warm" not in await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(stall_s)
            got.set_result(await _drink(reader, body_bytes, rate_bytes_s))
        await _answer_empty(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=PIECE_BYTES)
    port = server.sockets[0].getsockname()[1]
    async with server, running(start, {"a": (port,)}, routes=FOR_EVER) as (proxy, entry):
        await _warm(entry)
        reader, writer = await asyncio.open_connection("127.0.0.1", entry)
        async with Highest(proxy.pid) as seen:
            writer.write(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % body_bytes)
            await _pour(writer, body_bytes)
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await _end(writer)
        assert await got == body_bytes
        return seen.grown


async def _answer_empty(writer: asyncio.StreamWriter) -> None:
    """And no more on this connection."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await _end(writer)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass  # the proxy was faster


async def _pour(writer: asyncio.StreamWriter, body_bytes: int) -> None:
    piece = b"x" * PIECE_BYTES
    for _ in range(body_bytes // PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


async def _drink(reader: asyncio.StreamReader, body_bytes: int, rate_bytes_s: int) -> int:
    """Reads not faster than the rate."""
    began, got = time.monotonic(), 0
    while got < body_bytes and (data := await reader.read(PIECE_BYTES)):
        got += len(data)
        await asyncio.sleep(max(0.0, began + got / rate_bytes_s - time.monotonic()))
    return got


async def _warm(port: int) -> None:
    """The first request costs what no other does."""
    async with Client(port) as client:
        await client.send(b"GET /warm HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        await client.wire.line()


# --------------------------------------------------------------------------- many of something


async def idle_connection_bytes(start: Starter, count: int) -> float:
    """Of one keep-alive connection that has had an answer and waits."""
    async with Upstream() as upstream, running(start, {"a": (upstream.port,)}) as (proxy, entry):
        clients = [await _idle(entry) for _ in range(50)]
        before = rss_bytes(proxy.pid)
        clients += [await _idle(entry) for _ in range(count)]
        grown = rss_bytes(proxy.pid) - before
        for _, writer in clients:
            await _end(writer)
        return grown / count


async def _idle(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def configured_bytes(start: Starter, count: int) -> float:
    """Of one cluster with its virtual host and route: what `count` of them add, each."""
    sizes = []
    for many in (1, count + 1):
        names = {f"c{number}": (9,) for number in range(many)}
        hosts = [
            {
                "name": name,
                "domains": [f"{name}.example.com"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}],
            }
            for name in names
        ]
        fields = {"upstreams": {name: {} for name in names}, "virtual_hosts": hosts}
        async with running(start, names, **fields) as (proxy, _):
            sizes.append(_settled(proxy))
    return (sizes[1] - sizes[0]) / count


def _settled(proxy: ProxyProcess) -> int:
    """The size when it no longer changes."""
    seen: list[int] = []

    def steady() -> int:
        seen.append(rss_bytes(proxy.pid))
        return seen[-1] if seen[-5:] == [seen[-1]] * 5 else 0

    return eventually(steady, 10.0, "a steady size")


# --------------------------------------------------------------------------- streams at once


async def streams_at_once(start: Starter, count: int) -> list[Message]:
    """`count` requests on one connection, all there before any is answered; their answers."""
    arrived = 0

    def answer(_: Message) -> Answer:
        nonlocal arrived
        arrived += 1
        return Answer(body=b"%07d\n" % arrived * 128, delay_s=0.2)

    limits = {"thresholds": [{"max_connections": count, "max_pending_requests": count}]}
    limits["thresholds"][0]["max_requests"] = count
    fields: Yaml = {
        "upstreams": {"a": {"cluster": {"circuit_breakers": limits}}},
        "hcm": {"http2_protocol_options": {"max_concurrent_streams": count}},
    }
    async with Upstream(answer) as up, running(start, {"a": (up.port,)}, **fields) as (_, entry):
        reader, writer = await asyncio.open_connection("127.0.0.1", entry)
        wire = H2Wire(reader, writer)
        reading = asyncio.get_running_loop().create_task(wire.run())
        wire.send_bytes(PREFACE)
        wire.send_settings({"INITIAL_WINDOW_SIZE": 512})
        numbers = range(1, 2 * count, 2)
        for number in numbers:
            fields = {":method": "GET", ":scheme": "http", ":path": f"/{number}"}
            wire.send_headers(number, [*fields.items(), (":authority", "a")], end=True)
        await wire.until(lambda: all(wire.seen(number).over for number in numbers))
        await wire.close()
        await reading
        return [_as_message(wire, number) for number in numbers]


def _as_message(wire: H2Wire, number: int) -> Message:
    seen = wire.seen(number)
    status = dict(seen.head or []).get(":status")
    return Message(f"HTTP/2 {status}", [], bytes(seen.body), complete=seen.ended, reset=seen.reset)
