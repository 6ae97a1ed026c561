"""One request at a time to a gateway: HTTP/1.1, HTTP/2 (also without TLS), gRPC, or plain bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events

DEADLINE_S = 10.0


@dataclass(slots=True)
class Ask:
    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    http2: bool = False
    grpc: bool = False


@dataclass(slots=True)
class Answer:
    """headers: names in lower case, values joined by a comma; trailers stand among them."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def told(self) -> dict[str, Any]:
        """What a backend said; {} if it was none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def grpc_status(self) -> int:
        return int(self.headers.get("grpc-status", "-1"))


@contextlib.asynccontextmanager
async def _connected(
    port: int, tls: ssl.SSLContext | None, sni: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    named = (sni or None) if tls is not None else None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname=named
    )
    try:
        yield reader, writer
    finally:
        writer.close()


async def ask(port: int, what: Ask, tls: ssl.SSLContext | None = None, sni: str = "") -> Answer:
    """OSError (ssl.SSLError too) when no answer comes."""
    async with asyncio.timeout(DEADLINE_S), _connected(port, tls, sni) as (reader, writer):
        if what.http2 or what.grpc:
            return await _over_http2(reader, writer, what, tls is not None)
        return await _over_http1(reader, writer, what)


async def exchange(
    port: int, data: bytes, tls: ssl.SSLContext | None = None, sni: str = ""
) -> bytes:
    """What comes back to some bytes, until the other side ends; b'' also when it breaks off."""
    async with asyncio.timeout(DEADLINE_S), _connected(port, tls, sni) as (reader, writer):
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def _over_http1(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: Ask
) -> Answer:
    lines = [f"{what.method} {what.path} HTTP/1.1", f"Host: {what.host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in what.headers.items()]
    if what.method in ("POST", "PUT", "PATCH"):
        lines.append("Content-Length: 0")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("no answer") from error
    first, *rest = head.decode().strip().split("\r\n")
    answer = Answer(int(first.split()[1]))
    for line in rest:
        name, _, value = line.partition(":")
        _add(answer, name, value.strip())
    if answer.headers.get("transfer-encoding") == "chunked":
        answer.body = _unchunked(await reader.read())
    elif what.method != "HEAD":
        # Envoy keeps a connection open for a second after some answers.
        answer.body = await reader.readexactly(int(answer.headers.get("content-length", "0")))
    return answer


def _unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        found, body = found + body[:length], body[length + 2 :]
        if not length:
            break
    return found


def _add(answer: Answer, name: str, value: str) -> None:
    name = name.lower()
    before = answer.headers.get(name)
    answer.headers[name] = value if before is None else f"{before},{value}"


async def _over_http2(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: Ask, secure: bool
) -> Answer:
    config = h2.config.H2Configuration(header_encoding="utf-8")
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    head = [
        (":method", "POST" if what.grpc else what.method),
        (":scheme", "https" if secure else "http"),
        (":authority", what.host),
        (":path", what.path),
    ]
    head += [(name.lower(), value) for name, value in what.headers.items()]
    if what.grpc:
        head += [("content-type", "application/grpc"), ("te", "trailers")]
    connection.send_headers(1, head, end_stream=not what.grpc)
    if what.grpc:
        connection.send_data(1, b"\0\0\0\0\0", end_stream=True)
    writer.write(connection.data_to_send())
    answer = Answer(0)
    while data := await reader.read(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                _note(answer, event.headers)
            elif isinstance(event, h2.events.DataReceived):
                answer.body += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamReset):
                raise ConnectionResetError("the stream was reset")
            elif isinstance(event, h2.events.StreamEnded):
                answer.body = answer.body[5:] if what.grpc else answer.body
                return answer
        writer.write(connection.data_to_send())
    raise ConnectionResetError("no answer")


def _note(answer: Answer, headers: Any) -> None:
    for name, value in headers:
        if name == ":status":
            answer.status = int(value)
        else:
            _add(answer, name, value)
