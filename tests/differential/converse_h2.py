"""A client's HTTP/2 connection in a scenario: requests as streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Self

from tests.differential.record import Seen, of_stream
from tests.differential.requests import Request
from tests.support.h2_wire import PREFACE, H2Wire, StreamSeen

DEADLINE_S = 20.0


class H2Talk:
    """`async with H2Talk(...) as talk:` is one connection; `begin` says the preface."""

    def __init__(
        self, port: int, tls: ssl.SSLContext | None, source: str, arrived: asyncio.Event
    ) -> None:
        self._port, self._tls, self._source = port, tls, source
        self._arrived = arrived
        self._next_id = 1
        self._wire: H2Wire | None = None
        self._reading: asyncio.Task[None] | None = None
        self._scheme = "https" if tls else "http"

    @property
    def wire(self) -> H2Wire:
        assert self._wire is not None, "not connected"
        return self._wire

    async def __aenter__(self) -> Self:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self._port,
            ssl=self._tls,
            server_hostname="localhost" if self._tls else None,
            local_addr=(self._source, 0),
        )
        self._wire = H2Wire(reader, writer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wire.close()
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def begin(self, first: bytes, settings: Mapping[str, int], *, raw: bool) -> None:
        """Starts to read; says the preface and the settings, unless frames will say them."""
        self._reading = asyncio.get_running_loop().create_task(self.wire.run())
        self.wire.send_bytes(first)
        if not raw:
            self.wire.send_bytes(PREFACE)
            self.wire.send_settings(settings)

    async def ask(self, request: Request) -> Seen:
        """A request and its whole answer, or how its stream ended."""
        async with asyncio.timeout(DEADLINE_S):
            number, seen = await self.open(request)
            if request.tunnel is not None:
                return await self._tunnel(number, seen, request)
            if request.cancel:
                await self._arrived_or_over(seen)
                if not seen.over and not self.wire.closed:
                    self.wire.reset(number, request.cancel)
                    return {"cancelled": request.cancel}
            await self.wire.until(lambda: seen.over)
        return of_stream(seen)

    async def _arrived_or_over(self, seen: StreamSeen) -> None:
        """Until an upstream has the request, or there will be nothing to cancel."""
        waits = [self._arrived.wait(), self.wire.until(lambda: seen.over)]
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(each) for each in waits}
        _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()

    async def open(self, request: Request) -> tuple[int, StreamSeen]:
        """Sends a request on the next stream."""
        number, self._next_id = self._next_id, self._next_id + 2
        pieces = [request.body] if request.chunks is None else list(request.chunks)
        fields = request.fields(self._scheme)
        body = any(pieces)
        if request.body:
            fields.append(("content-length", str(len(request.body))))
        if request.expect_continue:
            fields.append(("expect", "100-continue"))
        whole = not (body or request.trailers or request.tunnel is not None) and request.end
        self.wire.send_headers(number, fields, end=whole)
        seen = self.wire.seen(number)
        if request.expect_continue:
            await self.wire.until(lambda: seen.blocks or seen.over)
        if body and not (request.expect_continue and seen.head):
            await self._send_body(number, request, pieces)
        if request.trailers and not seen.over:
            self.wire.send_headers(number, request.trailers, end=request.end)
        return number, seen

    async def _send_body(self, number: int, request: Request, pieces: list[bytes]) -> None:
        for at, piece in enumerate(pieces):
            last = at == len(pieces) - 1 and not request.trailers and request.end
            await self.wire.send_data(number, piece, end=last)
            await asyncio.sleep(request.chunk_delay_s)

    async def _tunnel(self, number: int, seen: StreamSeen, request: Request) -> Seen:
        await self.wire.until(lambda: seen.head or seen.over)
        if seen.over or dict(seen.head or []).get(":status") != "200":
            await self.wire.until(lambda: seen.over)
            return of_stream(seen)
        for text in request.tunnel or ():
            await self.wire.send_data(number, text)
            await self.wire.until(partial(_echoed, seen, text))
        told = of_stream(seen)
        if request.cancel:
            self.wire.reset(number, request.cancel)
        return told

    async def end(self, deadline_s: float) -> Seen:
        """How the proxy ends the connection: its last GOAWAY, and whether it closes."""
        try:
            async with asyncio.timeout(deadline_s):
                await self.wire.until(lambda: False)
        except TimeoutError:
            pass
        return {"goaway": self.wire.goaways[-1:], "closed": bool(self.wire.closed)}


def _echoed(seen: StreamSeen, text: bytes) -> bool:
    return seen.over or seen.body.endswith(text)
