"""A minimal HTTP/1 reader for both ends of a test, written apart from `proxy.http` on purpose.

It believes what it reads (RFC 9112 framing, no checks): judging is the test's business.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

LIMIT_BYTES = 1 << 24
Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Message:
    """One message. `complete` is False when the connection ended inside it, `reset` the error
    that ended its HTTP/2 stream."""

    start: str
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    complete: bool = True
    reset: str = ""

    @property
    def status(self) -> int:
        """Of a response; 0 when the status line makes no sense."""
        parts = self.start.split(" ")
        return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def path(self) -> str:
        return self.start.partition(" ")[2].partition(" ")[0]

    def get(self, name: str) -> str | None:
        """The values of a header joined by ', '; None when it is not there."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


class Wire:
    """A connection that remembers every byte that came in (`received`)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.received = bytearray()
        self._reader = reader

    async def line(self) -> bytes:
        """Up to and with LF; shorter at the end of the stream."""
        return self._note(await self._reader.readline())

    async def exactly(self, count: int) -> tuple[bytes, bool]:
        """`count` bytes, or what came before the end and False."""
        try:
            return self._note(await self._reader.readexactly(count)), True
        except asyncio.IncompleteReadError as cut:
            return self._note(cut.partial), False

    async def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        return self._note(await self._reader.read(-1))

    async def some(self) -> bytes:
        """What is there, at least a byte; empty at the end of the stream."""
        return self._note(await self._reader.read(LIMIT_BYTES))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def close(self, *, reset: bool = False) -> None:
        """Closes; with `reset` the peer sees RST instead of FIN."""
        if reset:
            self.writer.transport.abort()
            return
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass  # the peer was faster, or TLS failed: closed is closed

    def _note(self, data: bytes) -> bytes:
        self.received += data
        return data


async def read_head(wire: Wire) -> Message | None:
    """Start line and headers; None at the end of the stream before a start line."""
    start = await wire.line()
    if not start:
        return None
    headers, complete = await _read_fields(wire)
    return Message(_text(start), headers, complete=complete)


async def read_request_body(wire: Wire, message: Message) -> None:
    """Fills `body` and `trailers` of a request whose head was read."""
    if "chunked" in (message.get("transfer-encoding") or "").lower():
        await _read_chunked(wire, message)
    elif length := message.get("content-length"):
        message.body, message.complete = await wire.exactly(int(length))


async def read_response(wire: Wire, method: str) -> Message | None:
    """One response (1xx included) to a request of `method`; None when the stream ended."""
    message = await read_head(wire)
    if message is None or not message.complete:
        return message
    if method == "HEAD" or message.status < 200 or message.status in (204, 304):
        return message
    if method == "CONNECT" and message.status < 300:
        return message
    if "chunked" in (message.get("transfer-encoding") or "").lower():
        await _read_chunked(wire, message)
    elif length := message.get("content-length"):
        message.body, message.complete = await wire.exactly(int(length))
    else:
        message.body = await wire.rest()
    return message


async def _read_chunked(wire: Wire, message: Message) -> None:
    body = bytearray()
    while True:
        size = await wire.line()
        if not size.endswith(b"\n"):
            message.complete = False
            break
        count = int(size.split(b";")[0], 16)
        if count == 0:
            message.trailers, message.complete = await _read_fields(wire)
            break
        data, whole = await wire.exactly(count + 2)
        body += data[:count]
        if not whole:
            message.complete = False
            break
    message.body = bytes(body)


async def _read_fields(wire: Wire) -> tuple[Headers, bool]:
    """Header lines up to the empty one, and whether that came."""
    fields: Headers = []
    while True:
        line = await wire.line()
        if line in (b"\r\n", b"\n"):
            return fields, True
        if not line.endswith(b"\n"):
            return fields, False
        name, _, value = _text(line).partition(":")
        fields.append((name, value.strip()))


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode("latin-1")
