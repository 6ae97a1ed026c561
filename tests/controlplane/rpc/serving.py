"""A server of `controlplane.rpc` with plain handlers, for clients of grpc.aio and raw frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from controlplane.rpc.context import Context
from controlplane.rpc.guests import Guests
from controlplane.rpc.heads import Metadata
from controlplane.rpc.limits import DEFAULT_LIMITS, Limits
from controlplane.rpc.server import Server
from controlplane.rpc.tls import Credentials
from controlplane.rpc.turns import TURN_S

SERVICE = "test.Echo"
Channel = Any
"""grpc.aio.Channel; its stubs do not know bytes without serializers."""
Raw = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Turns:
    """Counts those of the loop."""

    def __init__(self) -> None:
        self._count = 0
        self._over = False
        self._next()

    def _next(self) -> None:
        self._count += 1
        if not self._over:
            asyncio.get_running_loop().call_soon(self._next)

    def ended(self) -> bytes:
        self._over = True
        return b"%d" % self._count


class Echo:
    """Handlers of bytes. seen: what became of calls, in order. gate: opened by tests."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gate = asyncio.Event()
        self.contexts: list[Context] = []

    def handler(self) -> Any:
        methods = {
            "One": grpc.unary_unary_rpc_method_handler(self._one),
            "Many": grpc.unary_stream_rpc_method_handler(self._many),
            "Count": grpc.stream_unary_rpc_method_handler(self._count),
            "Works": grpc.stream_unary_rpc_method_handler(self._works),
            "Turns": grpc.stream_unary_rpc_method_handler(self._turns),
            "Chat": grpc.stream_stream_rpc_method_handler(self._chat),
            "Writes": grpc.stream_stream_rpc_method_handler(self._writes),
            "Each": grpc.stream_stream_rpc_method_handler(self._each),
            "Pairs": grpc.stream_stream_rpc_method_handler(self._pairs),
            "Waits": grpc.unary_unary_rpc_method_handler(self._waits),
            "Believes": grpc.stream_stream_rpc_method_handler(self._believes),
            "Floods": grpc.unary_stream_rpc_method_handler(self._floods),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _one(self, request: bytes, context: Context) -> bytes:
        self.contexts.append(context)
        if request == b"believe":
            context.believe("somebody")
        if request == b"abort":
            trailing = (("why", "so"), ("why-bin", b"\0\1"))
            await context.abort(grpc.StatusCode.NOT_FOUND, "100 % nö\n", trailing)
        if request == b"fail":
            raise RuntimeError("a bug")
        if request == b"set":
            context.set_code(grpc.StatusCode.ABORTED)
            context.set_details("set")
        context.set_trailing_metadata((("behind", "it"),))
        await context.send_initial_metadata((("ahead", "of it"),))
        return request

    async def _many(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def _count(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"%d" % len([request async for request in requests])

    async def _turns(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """How many turns of the loop there were, at least, from the first request to the last, of
        which each is as much work as one client has in a turn."""
        turns = Turns()
        async for _ in requests:
            time.sleep(TURN_S)  # noqa: ASYNC251 - as work that holds the loop
        return turns.ended()

    async def _works(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """The same, in the turns that bring them."""
        turns = Turns()
        await context.call.each(lambda request: time.sleep(TURN_S))
        return turns.ended()

    async def _chat(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def _writes(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """By the context's words."""
        while (request := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await context.write(request)

    async def _each(self, requests: AsyncIterator[bytes], context: Context) -> None:
        def take(request: bytes) -> None:
            if request == b"fail":
                raise RuntimeError("a bug")
            context.call.send(request)

        await context.call.each(take)

    async def _pairs(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Two messages at once, which are sent in frames; whatever else is said is beside them."""
        call = context.call

        def take(request: bytes) -> None:
            call.send(request * 20_000)
            call.send(request * 20_000)

        call.on_room = lambda: call.send(b"there is room")
        await call.each(take)

    async def _waits(self, request: bytes, context: Context) -> bytes:
        self.contexts.append(context)
        self.seen.append("began")
        context.add_done_callback(lambda done: self.seen.append(f"over {done.cancelled()}"))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        return request

    async def _believes(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Whoever it is, once the gate is open."""
        await self.gate.wait()
        context.believe("somebody")
        while (request := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await context.write(b"%d" % len(request))

    async def _floods(self, request: bytes, context: Context) -> None:
        """As many messages of 64 KB as are taken."""
        for number in range(int(request)):
            await context.write(b"x" * 65536)
            self.seen.append(str(number))


class Known:
    """Guests of whom only `tokens` are known, by a header of that name."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = tokens

    def principal(self, facts: dict[str, list[bytes]]) -> str:
        return "whoever has shown a certificate"

    def knows(self, metadata: Metadata) -> bool:
        return dict(metadata).get("token") in self._tokens


@asynccontextmanager
async def serving(
    limits: Limits = DEFAULT_LIMITS,
    credentials: Callable[[], Credentials] | None = None,
    guests: Guests | None = None,
) -> AsyncIterator[tuple[Echo, int, Server]]:
    """The handlers, and the server's port."""
    echo, server = Echo(), Server(limits, guests)
    server.add_generic_rpc_handlers((echo.handler(),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield echo, port, server
    finally:
        await server.stop(0)
