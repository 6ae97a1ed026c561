"""A programmable HTTP/2 upstream: the answers of `tests.support.upstream`, over streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Self

from tests.support.h2_wire import PREFACE, H2Wire
from tests.support.http1 import LIMIT_BYTES, Headers, Message
from tests.support.upstream import Answer, Script, Upstream

DEFAULT_SCRIPT = (Answer(),)


class H2Upstream(Upstream):
    """As `Upstream`, over prior knowledge or ALPN h2. `requests` begin `GET /path HTTP/2`, their
    other pseudo-headers are headers. `settings` are sent first; `reset` of an answer ends the
    whole connection with RST, `close` ends it after GOAWAY.
    """

    def __init__(
        self,
        script: Script = DEFAULT_SCRIPT,
        name: str = "upstream",
        tls: ssl.SSLContext | None = None,
        *,
        port: int = 0,
        health: tuple[Answer, ...] = (),
        settings: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(script, name, tls, port=port, health=health)
        self.connections: list[H2Wire] = []
        self._settings = dict(settings or {})
        if tls:
            tls.set_alpn_protocols(["h2"])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, limit=LIMIT_BYTES, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        wire = H2Wire(reader, writer, lambda stream: self._spawn(wire, stream))
        self.connections.append(wire)
        try:
            if await reader.readexactly(len(PREFACE)) != PREFACE:
                writer.transport.abort()
                return
            wire.send_settings(self._settings)
            await wire.run()
            await wire.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()

    def _spawn(self, wire: H2Wire, stream: int) -> None:
        task = asyncio.get_running_loop().create_task(self._serve_stream(wire, stream))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve_stream(self, wire: H2Wire, stream: int) -> None:
        seen = wire.seen(stream)
        message = _request(seen.blocks[0])
        answer = self.answer_to(message)
        if answer.tunnel is not None:
            await self._echo_stream(wire, stream, answer)
            return
        if not answer.early:
            await wire.until(lambda: seen.over)
        await asyncio.sleep(answer.delay_s)
        message.body, message.trailers = bytes(seen.body), list(seen.trailers)
        message.complete = seen.ended
        if not answer.never and not seen.reset:
            await self._answer_stream(wire, stream, answer, message.method)
        await wire.until(lambda: seen.over)
        message.body, message.trailers = bytes(seen.body), list(seen.trailers)
        message.complete, message.reset = seen.ended, seen.reset

    async def _answer_stream(self, wire: H2Wire, stream: int, answer: Answer, method: str) -> None:
        if answer.reset_code:
            wire.reset(stream, answer.reset_code)
            return
        if answer.reset:
            wire.writer.transport.abort()
            return
        for block in _interim(answer.interim):
            wire.send_headers(stream, block)
        pieces = list(answer.chunks) if answer.chunks is not None else [answer.body]
        body = b"" if method == "HEAD" else b"".join(pieces)
        head = [(":status", str(answer.status)), *_lower(answer.headers)]
        if answer.chunks is None and body and "content-length" not in dict(head):
            head.append(("content-length", str(len(body))))
        empty = not body and not answer.trailers and answer.cut is None
        wire.send_headers(stream, head, end=empty)
        await asyncio.sleep(answer.body_delay_s)
        if answer.cut is not None:
            await wire.send_data(stream, body[: answer.cut])
            wire.reset(stream, "INTERNAL_ERROR")
        elif not empty:
            await wire.send_data(stream, body, end=not answer.trailers)
            if answer.trailers:
                wire.send_headers(stream, _lower(answer.trailers), end=True)
        if answer.close:
            wire.goaway("NO_ERROR", stream)
            await wire.close()

    async def _echo_stream(self, wire: H2Wire, stream: int, answer: Answer) -> None:
        seen = wire.seen(stream)
        wire.send_headers(stream, [(":status", "200"), *_lower(answer.headers)])
        if answer.tunnel:
            await wire.send_data(stream, answer.tunnel)
        came = bytearray()
        self.tunnelled.append(came)
        while await wire.until(lambda: seen.over or len(seen.body) > len(came)):  # noqa: B023 - it runs now
            data = bytes(seen.body[len(came) :])
            came += data
            await wire.send_data(stream, data, end=seen.ended)
            if seen.over:
                return


def _request(block: Headers) -> Message:
    """Every field stays where it is; method and path also make the start line."""
    fields = dict(block)
    start = f"{fields.get(':method', '')} {fields.get(':path', '')} HTTP/2"
    return Message(start, [each for each in block if each[0] not in (":method", ":path")])


def _interim(text: bytes) -> list[Headers]:
    """`HTTP/1.1 103 Early Hints` with its headers as header blocks."""
    blocks: list[Headers] = []
    for head in text.decode("latin-1").split("\r\n\r\n"):
        if head:
            start, *lines = head.split("\r\n")
            pairs = (line.partition(": ") for line in lines)
            fields = [(name.lower(), value) for name, _, value in pairs]
            blocks.append([(":status", start.split(" ")[1]), *fields])
    return blocks


def _lower(headers: Headers) -> Headers:
    return [(name.lower(), value) for name, value in headers]
