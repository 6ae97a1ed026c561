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


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream does with one request. Plain fields make a well-formed response.

    `raw` sends these bytes instead. `chunks` sends a chunked body with `trailers`. `cut` sends
    only so many bytes and closes. `delay_s` waits before the first byte. `never` sends nothing.
    `early` answers before the request's body is read. `close` closes after the answer, `reset`
    with RST. `interim` goes first, as it is (`HTTP/1.1 103 ...`).
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
    byte in `received`. A connection whose bytes it can't read is reset.
    """

    def __init__(
        self,
        script: Script = (Answer(),),
        name: str = "upstream",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.tls = tls
        self.script = script
        self.requests: list[Message] = []
        self.wires: list[Wire] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def received(self) -> bytes:
        """Every byte that reached it, connection after connection."""
        return b"".join(bytes(wire.received) for wire in self.wires)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=LIMIT_BYTES, ssl=self.tls
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
        answer = self._answer(message)
        self.requests.append(message)
        if not answer.early:
            await read_request_body(wire, message)
        await asyncio.sleep(answer.delay_s)
        if answer.never:
            await wire.rest()
            return False
        await wire.send(answer.interim + answer.encode(message.method)[: answer.cut])
        if answer.reset:
            await wire.close(reset=True)
        elif answer.early:
            await read_request_body(wire, message)
        return not (answer.close or answer.reset or answer.cut is not None)

    def _answer(self, message: Message) -> Answer:
        if callable(self.script):
            return self.script(message)
        return self.script[min(len(self.requests), len(self.script) - 1)]
