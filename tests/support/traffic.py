"""Everything that crosses a sidecar at once, steadily: requests over kept and new connections, gRPC
calls and long streams, TCP over long and new tunnels. Whatever does not come back is a failure.

A program of its own (`python -m tests.support.traffic PORT PER_SECOND`): it runs until its standard
input ends, then prints a JSON object `{kind: {"done": n, "failed": [[seconds, why], ...],
"slowest_ms": x}}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import uvloop

DEADLINE_S = 20.0
KEPT, STREAMS, TUNNELS = 8, 4, 4
MAX_FAILURES = 50
FAILURES = (OSError, EOFError, ValueError, grpc.aio.AioRpcError, asyncio.InvalidStateError)
Once = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    done: int = 0
    slowest_s: float = 0.0
    failed: list[tuple[float, str]] = field(default_factory=list)


class Traffic:
    """`per_second` exchanges in all, through the sidecar that is an HTTP proxy on `port`."""

    def __init__(self, port: int, per_second: float) -> None:
        self._port = port
        self._per_second = per_second
        self._began_s = time.monotonic()
        self._stopping = asyncio.Event()
        self.tallies: dict[str, Tally] = {}

    async def run(self) -> None:
        share = self._per_second / 100
        options = (("grpc.default_authority", "echo:9000"),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", options) as channel:
            work = [self._kept(65 * share / KEPT) for _ in range(KEPT)]
            work += [self._again("new", self._new("web:8080"), 5 * share)]
            work += [self._again("fresh", self._new("fresh:8081"), 5 * share)]
            work += [self._again("unary", lambda: self._unary(channel), 10 * share)]
            work += [self._stream(channel, 10 * share / STREAMS) for _ in range(STREAMS)]
            work += [self._tunnel(4 * share / TUNNELS) for _ in range(TUNNELS)]
            work += [self._again("tunnels", self._short_tunnel, 1 * share)]
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(each)
                await _input_ended()
                self._stopping.set()

    # ------------------------------------------------------------------ pace and account

    async def _again(self, kind: str, once: Once, per_second: float) -> None:
        due_s = time.monotonic()
        while not self._stopping.is_set():
            await self._try(kind, once)
            due_s = max(due_s + 1 / per_second, time.monotonic() - 1 / per_second)
            await asyncio.sleep(due_s - time.monotonic())

    async def _try(self, kind: str, once: Once) -> bool:
        tally = self.tallies.setdefault(kind, Tally())
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await once()
        except FAILURES as error:
            why = getattr(error, "details", lambda: "")() or str(error)
            if len(tally.failed) < MAX_FAILURES:
                tally.failed.append((began_s - self._began_s, f"{type(error).__name__}: {why}"))
            return False
        tally.done += 1
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - began_s)
        return True

    # ------------------------------------------------------------------ HTTP/1.1

    async def _kept(self, per_second: float) -> None:
        """One connection for ever; a new one only where the last was announced as closing."""
        wire: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def once() -> None:
            if not wire:
                wire.append(await asyncio.open_connection("127.0.0.1", self._port))
            try:
                goes_on = await _get(*wire[0], "web:8080")
            except BaseException:
                wire.pop()[1].close()
                raise
            if not goes_on:
                wire.pop()[1].close()

        await self._again("kept", once, per_second)

    def _new(self, host: str) -> Once:
        async def once() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                await _get(reader, writer, host)
            finally:
                writer.close()

        return once

    # ------------------------------------------------------------------ gRPC

    async def _unary(self, channel: Any) -> None:
        call = channel.unary_unary("/test.Echo/Unary")
        if await call(b"hello", timeout=DEADLINE_S) != b"hello":
            raise ValueError("another answer")

    async def _stream(self, channel: Any, per_second: float) -> None:
        """One stream for ever."""
        call = channel.stream_stream("/test.Echo/Stream")()

        async def once() -> None:
            await call.write(b"hello")
            answer = await call.read()
            if answer != b"hello":
                raise ValueError(f"the stream has ended: {await call.code()}")

        await self._again("streams", once, per_second)
        await call.done_writing()

    # ------------------------------------------------------------------ TCP

    async def _tunnel(self, per_second: float) -> None:
        """One tunnel for ever."""
        reader, writer = await self._connect()
        await self._again("tcp", lambda: _line(reader, writer), per_second)
        writer.close()

    async def _short_tunnel(self) -> None:
        reader, writer = await self._connect()
        try:
            await _line(reader, writer)
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"CONNECT lines:9001 HTTP/1.1\r\nhost: lines:9001\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            writer.close()
            raise ValueError(f"no tunnel: {head!r}")
        return reader, writer


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> bool:
    """Whether the connection can be used again."""
    writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    start, *lines = head.split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(fields["content-length"]))
    if start.split(" ")[1] != "200":
        raise ValueError(f"{start} {body.decode('utf-8', 'replace')}")
    return fields.get("connection") != "close"


async def _line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    if (answer := await reader.readline()) != b"line hello\n":
        raise ValueError(f"the tunnel has ended: {answer!r}")


async def _input_ended() -> None:
    await asyncio.to_thread(sys.stdin.read)


async def _main(port: int, per_second: float) -> None:
    traffic = Traffic(port, per_second)
    await traffic.run()
    result = {
        kind: {
            "done": tally.done,
            "failed": tally.failed,
            "slowest_ms": round(1000 * tally.slowest_s, 1),
        }
        for kind, tally in sorted(traffic.tallies.items())
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), float(sys.argv[2])))
