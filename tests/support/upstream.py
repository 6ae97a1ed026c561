"""A programmable HTTP/1 upstream: answers as scripted, remembers exactly what reached it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.support.client import chunked_body
from tests.support.http1 import (
    LIMIT_BYTES,
    Headers,
    Message,
    Wire,
    read_head,
    read_request_body,
)

PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"
HEALTH_PATHS = ("/healthz", "/grpc.health.v1.Health/Check")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream does with one request. Plain fields make a well-formed response.

    `raw` sends these bytes instead. `chunks` sends a chunked body with `trailers`. `cut` sends
    only so many bytes and closes. `delay_s` waits before the first byte, `body_delay_s` between
    head and body. `never` sends nothing. `early` answers before the request's body is read.
    `close` closes after the answer, `reset` with RST. `interim` goes first, as it is
    (`HTTP/1.1 103 ...`). `tunnel` answers 101 to an upgrade (or 200 to CONNECT), says these
    bytes and then echoes whatever comes.

    Over HTTP/2 `cut` resets the stream after so many bytes of the body, `reset_code` names the
    error of a stream that is reset instead of answered, `close` is GOAWAY and then the end.
    """

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    chunks: Sequence[bytes] | None = None
    trailers: Headers = field(default_factory=list)
    interim: bytes = b""
    raw: bytes | None = None
    cut: int | None = None
    delay_s: float = 0.0
    body_delay_s: float = 0.0
    tunnel: bytes | None = None
    reset_code: str = ""
    never: bool = False
    early: bool = False
    close: bool = False
    reset: bool = False

    def encode(self, method: str) -> bytes:
        """The bytes of the response to a request of `method`, framed unless the headers say how."""
        if self.raw is not None:
            return self.raw
        fields = list(self.headers)
        framed = {name.lower() for name, _ in fields} & {"content-length", "transfer-encoding"}
        bodyless = method == "HEAD" or self.status in (204, 304)
        if self.chunks is not None:
            fields.append(("transfer-encoding", "chunked"))
        elif not framed and self.status not in (204, 304):
            fields.append(("content-length", str(len(self.body))))
        lines = [f"HTTP/1.1 {self.status} Scripted", *(f"{n}: {v}" for n, v in fields), "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        if bodyless:
            return head
        return head + (self.body if self.chunks is None else self._chunked())

    def _chunked(self) -> bytes:
        return chunked_body(list(self.chunks or ()), self.trailers)


Script = Sequence[Answer] | Callable[[Message], Answer]


class Upstream:
    """`async with Upstream(script) as upstream:` listens on `upstream.port` of 127.0.0.1.

    A script of answers is used up in the order of the requests, the last one again and again.
    `requests` are the messages in the order their heads came, `wires` the connections with every
    byte in `received`. A connection whose bytes it can't read is reset. Requests for a path in
    `health` are answered from there and not remembered; with `proxy_protocol` each connection
    begins with a PROXY header, kept in `proxied`.
    """

    def __init__(
        self,
        script: Script = (Answer(),),
        name: str = "upstream",
        tls: ssl.SSLContext | None = None,
        *,
        port: int = 0,
        health: Sequence[Answer] = (),
        proxy_protocol: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.name = name
        self.host = host
        self.tls = tls
        self.health = health
        self.health_checks = 0
        self.proxied: list[str] = []
        self._proxy_protocol = proxy_protocol
        self.script = script
        self.requests: list[Message] = []
        self.wires: list[Wire] = []
        self.tunnelled: list[bytearray] = []
        self.port = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def received(self) -> bytes:
        """Every byte that reached it, connection after connection."""
        return b"".join(bytes(wire.received) for wire in self.wires)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, limit=LIMIT_BYTES, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        wire = Wire(reader, writer)
        self.wires.append(wire)
        try:
            if self._proxy_protocol:
                self.proxied.append(await read_proxy_header(wire))
            while await self._serve_one(wire):
                pass
            await wire.close()
        except (OSError, ValueError):
            writer.transport.abort()  # the proxy reset it, or sent what nobody can read
        except asyncio.CancelledError:
            writer.transport.abort()

    async def _serve_one(self, wire: Wire) -> bool:
        """One request and its answer; False when the connection is over."""
        message = await read_head(wire)
        if message is None:
            return False
        answer = self.answer_to(message)
        if not answer.early:
            await read_request_body(wire, message)
        await asyncio.sleep(answer.delay_s)
        if answer.never:
            await wire.rest()
            return False
        if answer.tunnel is not None:
            await self._echo(wire, message, answer)
            return False
        await self._send(wire, message, answer)
        if answer.reset:
            await wire.close(reset=True)
        elif answer.early:
            await read_request_body(wire, message)
        return not (answer.close or answer.reset or answer.cut is not None)

    async def _send(self, wire: Wire, message: Message, answer: Answer) -> None:
        data = answer.interim + answer.encode(message.method)[: answer.cut]
        if answer.body_delay_s:
            head, _, data = data.partition(b"\r\n\r\n")
            await wire.send(head + b"\r\n\r\n")
            await asyncio.sleep(answer.body_delay_s)
        await wire.send(data)

    async def _echo(self, wire: Wire, message: Message, answer: Answer) -> None:
        """Raw bytes both ways until the peer ends; `tunnelled` keeps what came."""
        if message.method != "CONNECT":
            upgrade = message.get("upgrade") or ""
            head = f"HTTP/1.1 101 Scripted\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n"
        else:
            head = "HTTP/1.1 200 Scripted\r\n"
        fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        await wire.send(f"{head}{fields}\r\n".encode("latin-1") + (answer.tunnel or b""))
        came = bytearray()
        self.tunnelled.append(came)
        while data := await wire.some():
            came += data
            await wire.send(data)

    def answer_to(self, message: Message) -> Answer:
        """The next of the script; the message is remembered unless it is a health check."""
        if self.health and message.path in HEALTH_PATHS:
            self.health_checks += 1
            return self.health[min(self.health_checks, len(self.health)) - 1]
        answer = self._answer(message)
        self.requests.append(message)
        return answer

    def _answer(self, message: Message) -> Answer:
        if callable(self.script):
            return self.script(message)
        return self.script[min(len(self.requests), len(self.script) - 1)]


async def read_proxy_header(wire: Wire) -> str:
    """The PROXY header of a connection, version 1 as its line, version 2 as hexadecimal digits."""
    start, _ = await wire.exactly(12)
    if start != PROXY_V2:
        return (start + await wire.line()).decode("latin-1").strip()
    rest, _ = await wire.exactly(4)
    addresses, _ = await wire.exactly(int.from_bytes(rest[2:4], "big"))
    return (start + rest + addresses).hex()
