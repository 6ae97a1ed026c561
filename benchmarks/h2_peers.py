"""The two ends of the HTTP/2 benchmarks: a load whose header values differ in every request, and an
upstream that answers at once. `python -m benchmarks.h2_peers load|serve ...`

Both are as simple as frames allow, so that they can share a core with each other. The load encodes
as nghttp2 does: what a request has in common with others is indexed, the path is not, and a trace
id goes into the dynamic table (RFC 7541) and pushes others out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from itertools import count
from typing import cast

import uvloop

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
TABLE_BYTES = 4096
LARGEST_WINDOW = (1 << 31) - 1
BODY = json.dumps({"items": [{"id": n, "name": f"postcard {n}"} for n in range(16)]}).encode()
MESSAGE = b"\0\0\0\0\x40" + b"m" * 64
CONSTANTS = (
    (b"user-agent", b"bench/1"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b"en"),
    (b"x-tenant", b"acme"),
    (b"cookie", b"session=0123456789abcdef"),
)
GRPC = (
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"user-agent", b"grpc-bench/1"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big")
    return head + payload


def literal(start: int, name: bytes, value: bytes) -> bytes:
    return bytes((start, len(name))) + name + bytes((len(value),)) + value


class Encoder:
    """HPACK with a dynamic table, for one connection."""

    def __init__(self) -> None:
        self._table: deque[tuple[bytes, bytes]] = deque()
        self._added = 0
        self._size = 0
        self._when: dict[tuple[bytes, bytes], int] = {}

    def field(self, name: bytes, value: bytes) -> bytes:
        pair = (name, value)
        at = self._when.get(pair)
        if at is not None:
            return _integer(0x80, 0x7F, 61 + self._added - at)
        self._added += 1
        self._when[pair] = self._added - 1
        self._table.append(pair)
        self._size += len(name) + len(value) + 32
        while self._size > TABLE_BYTES:
            old = self._table.popleft()
            self._size -= len(old[0]) + len(old[1]) + 32
            del self._when[old]
        return literal(0x40, name, value)


def _integer(start: int, most: int, number: int) -> bytes:
    """RFC 7541 section 5.1."""
    if number < most:
        return bytes((start | number,))
    number -= most
    out = bytearray((start | most,))
    while number >= 128:
        out.append(number % 128 | 128)
        number //= 128
    out.append(number)
    return bytes(out)


class Caller(asyncio.Protocol):
    """One connection that keeps so many streams open."""

    numbers = count(1)

    def __init__(self, streams: int, grpc: bool) -> None:
        self._streams = streams
        self._grpc = grpc
        self._encoder = Encoder()
        self._next_id = 1
        self._rest = b""
        self.done = 0
        self.failed = 0
        self.began: dict[int, float] = {}
        self.times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        window = frame(SETTINGS, 0, 0, b"\0\4" + LARGEST_WINDOW.to_bytes(4, "big"))
        more = frame(WINDOW_UPDATE, 0, 0, (LARGEST_WINDOW - 65535).to_bytes(4, "big"))
        self._transport.write(PREFACE + window + more)
        self._transport.write(b"".join([self._request() for _ in range(self._streams)]))

    def _request(self) -> bytes:
        stream_id = self._next_id
        self._next_id += 2
        self.began[stream_id] = time.perf_counter()
        number = next(self.numbers)
        path = b"/bench.Store/Item" if self._grpc else b"/catalogue/%d/items?page=%d" % (
            number, number * 7919 % 1000)  # fmt: skip
        field = self._encoder.field
        block = [b"\x83\x86" if self._grpc else b"\x82\x86", field(b":authority", b"bench.test")]
        block += (b"\x04", bytes((len(path),)), path)
        block += [field(*pair) for pair in (GRPC if self._grpc else CONSTANTS)]
        block.append(field(b"x-trace-id", b"%032x" % (number * 0x9E3779B97F4A7C15)))
        if not self._grpc:
            return frame(HEADERS, 5, stream_id, b"".join(block))
        return frame(HEADERS, 4, stream_id, b"".join(block)) + frame(DATA, 1, stream_id, MESSAGE)

    def data_received(self, data: bytes) -> None:
        out = []
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= 9:
            end = at + 9 + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind <= RST and (flags & 1 or kind == RST):
                stream_id = int.from_bytes(data[at + 5 : at + 9], "big")
                self.times.append(time.perf_counter() - self.began.pop(stream_id))
                self.done += 1
                self.failed += kind == RST
                out.append(self._request())
            elif kind == SETTINGS and not flags:
                out.append(frame(SETTINGS, 1, 0))
            at = end
        self._rest = data[at:]
        if out:
            self._transport.write(b"".join(out))

    def connection_lost(self, error: Exception | None) -> None:
        self.failed += 1


async def load(port: int, connections: int, streams: int, duration_s: float, grpc: bool) -> None:
    """Prints what it counted as one line of JSON."""
    loop = asyncio.get_running_loop()
    callers = [Caller(streams, grpc) for _ in range(connections)]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
    began = time.perf_counter()
    await asyncio.sleep(duration_s)
    took_s = time.perf_counter() - began
    times = sorted(second for caller in callers for second in caller.times) or [0.0]
    counted = {
        "requests": sum(caller.done for caller in callers),
        "failed": sum(caller.failed for caller in callers),
        "duration_s": took_s,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
    }
    print(json.dumps(counted), flush=True)


def _answer() -> tuple[bytes, bytes]:
    """What comes before and behind the stream's number: HEADERS and DATA."""
    block = b"\x88" + literal(0x00, b"content-type", b"application/json")
    block += literal(0x00, b"content-length", b"%d" % len(BODY))
    block += literal(0x00, b"x-served-by", b"upstream")
    return block, BODY


class Answerer(asyncio.Protocol):
    """Looks at no header: every stream that ends is answered."""

    def __init__(self, grpc: bool) -> None:
        self._rest = b""
        self._block, self._body = _answer()
        self._trailers = b""
        if grpc:
            self._block = b"\x88" + literal(0x00, b"content-type", b"application/grpc")
            self._body = MESSAGE
            self._trailers = literal(0x00, b"grpc-status", b"0")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        more = frame(WINDOW_UPDATE, 0, 0, (LARGEST_WINDOW - 65535).to_bytes(4, "big"))
        self._transport.write(frame(SETTINGS, 0, 0) + more)
        self._feed = self._preface

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def _preface(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) >= len(PREFACE):
            data, self._rest = self._rest[len(PREFACE) :], b""
            self._feed = self._frames
            self._frames(data)

    def _frames(self, data: bytes) -> None:
        out = []
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= 9:
            end = at + 9 + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind <= HEADERS and flags & 1:
                out.append(self._reply(int.from_bytes(data[at + 5 : at + 9], "big")))
            elif kind == SETTINGS and not flags:
                out.append(frame(SETTINGS, 1, 0))
            elif kind == PING and not flags:
                out.append(frame(PING, 1, 0, data[at + 9 : end]))
            at = end
        self._rest = data[at:]
        if out:
            self._transport.write(b"".join(out))

    def _reply(self, stream_id: int) -> bytes:
        head = frame(HEADERS, 4, stream_id, self._block)
        if not self._trailers:
            return head + frame(DATA, 1, stream_id, self._body)
        data = frame(DATA, 0, stream_id, self._body)
        return head + data + frame(HEADERS, 5, stream_id, self._trailers)


async def serve(port: int, grpc: bool) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answerer(grpc), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    role, port, kind, *rest = sys.argv[1:]
    if role == "serve":
        uvloop.run(serve(int(port), kind == "grpc"))
    else:
        connections, streams, duration_s = rest
        grpc = kind == "grpc"
        uvloop.run(load(int(port), int(connections), int(streams), float(duration_s), grpc))


if __name__ == "__main__":
    main()
