"""Backends that answer who they are and what they were asked, as Gateway API's echo-basic does:
over HTTP/1.1, HTTP/2 with prior knowledge (gRPC too), TLS, or any other bytes.

Every answer is a JSON object: namespace, service, pod, method, host, path, headers. Over HTTP/1.1
its status is 200, or what `?status=` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h11

_DELAY = re.compile(r"[?&]delay=(\d+)(ms|s)")
_STATUS = re.compile(r"[?&]status=([2-5]\d\d)")
SET_HEADER = "x-echo-set-header"
"""Of a request: 'NAME:VALUE,...' that the answer shall have."""

_PREFACE = b"PRI * HTTP/2"
_VERBS = re.compile(rb"[A-Z]+ ")
_HEADERS = dict[str, list[str]]


@dataclass(slots=True)
class Backend:
    """One app: `port` is where it listens, `seen` are the paths that it was asked for. It answers
    /held once it is `open`."""

    namespace: str
    service: str
    port: int = 0
    seen: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def saw(self, path: str) -> None:
        """Waits until it was asked for `path`."""
        while path not in self.seen:
            self._asked.clear()
            await self._asked.wait()

    def answer(self, method: str, host: str, path: str, headers: _HEADERS) -> bytes:
        self.seen.append(path)
        self._asked.set()
        told = {"namespace": self.namespace, "service": self.service, "pod": f"{self.service}-0"}
        asked = {"method": method, "host": host, "path": path, "headers": headers}
        return json.dumps(told | asked).encode()


@contextlib.asynccontextmanager
async def serving(
    backends: list[Backend], tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Starts them on ports that the kernel gives."""
    servers = []
    handlers = [_Handler(backend) for backend in backends]
    for backend, handler in zip(backends, handlers, strict=True):
        server = await asyncio.start_server(handler.serve, "127.0.0.1", 0, ssl=tls)
        backend.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for handler in handlers:
            await handler.close()


class _Handler:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def close(self) -> None:
        """Ends what is open, and waits until everybody has seen it."""
        tasks = [task for task in self._open.values() if task is not None]
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        with contextlib.suppress(OSError, h11.RemoteProtocolError, asyncio.IncompleteReadError):
            first = await reader.read(65536)
            if first.startswith(_PREFACE):
                await self._http2(first, reader, writer)
            elif _VERBS.match(first):
                await self._http1(first, reader, writer)
            elif first:
                writer.write(self._backend.answer("", "", "", {}))
                await writer.drain()
        writer.close()
        del self._open[writer]

    async def _http1(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(first)
        request: h11.Request | None = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                writer.write(await self._answer1(connection, request))
                await writer.drain()
                if connection.our_state is not h11.DONE:
                    return
                connection.start_next_cycle()
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return

    async def _answer1(self, connection: h11.Connection, request: h11.Request) -> bytes:
        headers: _HEADERS = {}
        for name, value in request.headers:
            headers.setdefault(name.decode().lower(), []).append(value.decode())
        method, path = request.method.decode(), request.target.decode()
        await asyncio.sleep(_delay_s(path))
        if path == "/held":
            self._backend.held += 1
            await self._backend.open.wait()
        body = self._backend.answer(method, headers.get("host", [""])[0], path, headers)
        told = [("content-length", str(len(body))), ("content-type", "text/json")]
        told += _wished(headers)
        answer = h11.Response(status_code=_status(path), headers=told)
        parts = [answer, h11.EndOfMessage()]
        if method != "HEAD":
            parts.insert(1, h11.Data(data=body))
        return b"".join(connection.send(part) or b"" for part in parts)

    async def _http2(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        asked: dict[int, Any] = {}
        data = first
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    asked[event.stream_id] = event.headers
                elif isinstance(event, h2.events.StreamEnded):
                    await self._answer2(connection, event.stream_id, asked.pop(event.stream_id))
            writer.write(connection.data_to_send())
            await writer.drain()
            data = await reader.read(65536)

    async def _answer2(
        self, connection: h2.connection.H2Connection, stream_id: int, asked: Any
    ) -> None:
        headers: _HEADERS = {}
        for name, value in asked:
            headers.setdefault(name, []).append(value)
        path = headers[":path"][0]
        await asyncio.sleep(_delay_s(path))
        body = self._backend.answer(
            headers[":method"][0], headers.get(":authority", [""])[0], path, headers
        )
        if headers.get("content-type", [""])[0].startswith("application/grpc"):
            framed = b"\0" + len(body).to_bytes(4, "big") + body
            answer = [(":status", "200"), ("content-type", "application/grpc")]
            connection.send_headers(stream_id, answer)
            connection.send_data(stream_id, framed)
            connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
            return
        connection.send_headers(stream_id, [(":status", "200"), ("content-type", "text/json")])
        connection.send_data(stream_id, body, end_stream=True)


def _wished(headers: _HEADERS) -> Iterator[tuple[str, str]]:
    for text in headers.get(SET_HEADER, ()):
        for pair in text.split(","):
            name, _, value = pair.partition(":")
            yield name.strip(), value.strip()


def _status(path: str) -> int:
    found = _STATUS.search(path)
    return int(found.group(1)) if found else 200


def _delay_s(path: str) -> float:
    found = _DELAY.search(path)
    if found is None:
        return 0.0
    return int(found.group(1)) / (1000 if found.group(2) == "ms" else 1)
