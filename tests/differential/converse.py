"""The client's side of a scenario: holds one conversation and says what came back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from tests.differential.converse_h2 import H2Talk
from tests.differential.frames import say_frames
from tests.differential.pki import Pki
from tests.differential.record import Seen, counted, of_message
from tests.differential.requests import Request
from tests.differential.scenario import Conversation
from tests.support.client import Client
from tests.support.http1 import Message

CLOSE_DEADLINE_S = 10.0
TUNNEL_DEADLINE_S = 20.0


@dataclass(slots=True)
class Caller:
    """What a conversation needs: where to connect, and `arrived` when an upstream has its request;
    `held` closes at the end of the scenario."""

    port: int
    pki: Pki
    arrived: asyncio.Event
    held: AsyncExitStack

    def tls(self, conversation: Conversation) -> ssl.SSLContext | None:
        if not conversation.tls:
            return None
        context = self.pki.client(conversation.tls)
        protocols = conversation.alpn or (["h2"] if conversation.http2 else [])
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


async def converse(conversation: Conversation, caller: Caller) -> Seen:
    """One connection, or several together; what was seen on it."""
    await asyncio.sleep(conversation.after_s)
    if conversation.together:
        tasks = (converse(each, caller) for each in conversation.together)
        return {"together": await asyncio.gather(*tasks)}
    try:
        if conversation.http2 or conversation.frames:
            return await _converse_h2(conversation, caller)
        return await _converse_h1(conversation, caller)
    except (ConnectionError, ssl.SSLError) as error:
        return {"not connected": type(error).__name__}


# --------------------------------------------------------------------------- HTTP/1


async def _converse_h1(conversation: Conversation, caller: Caller) -> Seen:
    tls = caller.tls(conversation)
    client = Client(caller.port, tls, conversation.sni or None, conversation.source)
    async with AsyncExitStack() as stack:
        keeper = caller.held if conversation.hold else stack
        await keeper.enter_async_context(client)
        if conversation.first:
            await client.send(conversation.first)
        if conversation.hang_up:
            first = conversation.requests[0]
            await client.send(first.head + b"".join(first.framed))
            await caller.arrived.wait()
            return {"hung up": True}
        seen: Seen = {"responses": await _exchange(conversation, client)}
        if conversation.closes:
            seen["closed"] = await _closed(client, conversation.closes)
        return seen


async def _closed(client: Client, how: bool | str) -> bool | str:
    if how is True:
        return await client.closed(CLOSE_DEADLINE_S)
    try:
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await client.wire.rest()
            return "fin"
    except TimeoutError:
        return "open"
    except (ConnectionError, ssl.SSLError):
        return "reset"


async def _exchange(conversation: Conversation, client: Client) -> list[Seen | None]:
    if conversation.raw:
        await client.send(conversation.raw)
        method = conversation.raw.split(b" ")[0].decode("latin-1")
        return [await _answer(client, method) for _ in range(conversation.responses)]
    if conversation.pipelined:
        everything = (one.head + b"".join(one.framed) for one in conversation.requests)
        await client.send(b"".join(everything))
        return [await _answer(client, one.method) for one in conversation.requests]
    return [await _ask(client, one) for one in conversation.requests]


async def _ask(client: Client, request: Request) -> Seen | None:
    if request.repeat:
        return await repeated(request, lambda once: _ask(client, once))
    if request.tunnel is not None:
        return await _tunnel(client, request)
    if not request.expect_continue:
        await _send(client, request)
        return await _answer(client, request.method)
    await client.send(request.head)
    first = await client.response(request.method)
    if first is None or first.status >= 200:
        return of_message(first)
    await client.send(b"".join(request.framed))
    seen = await _answer(client, request.method)
    return {**(seen or {}), "before": [first.start]}


async def _send(client: Client, request: Request) -> None:
    if not request.chunk_delay_s:
        await client.send(request.head + b"".join(request.framed))
        return
    await client.send(request.head)
    for piece in request.framed:
        await client.send(piece)
        await asyncio.sleep(request.chunk_delay_s)


async def _answer(client: Client, method: str) -> Seen | None:
    """The final response, with the 1xx before it."""
    interim = []
    while True:
        message = await client.response(method)
        if message is None or message.status >= 200 or message.status == 101:
            break
        interim.append(message.start)
    seen = of_message(message)
    return {**seen, "before": interim} if seen and interim else seen


async def _tunnel(client: Client, request: Request) -> Seen | None:
    """After 101, or 2xx to CONNECT: each text and its echo."""
    await client.send(request.head)
    message = await client.response(request.method)
    seen = of_message(message)
    if seen is None or not _opened(message, request):
        return seen
    came = b""
    for text in request.tunnel or ():
        await client.send(text)
        came = await _until_echo(client, came, text)
    return {**seen, "tunnel": came.decode("latin-1")}


def _opened(message: Message | None, request: Request) -> bool:
    status = message.status if message else 0
    return status == 101 or (request.method == "CONNECT" and 200 <= status < 300)


async def _until_echo(client: Client, came: bytes, text: bytes) -> bytes:
    try:
        async with asyncio.timeout(TUNNEL_DEADLINE_S):
            while not came.endswith(text):
                data = await client.wire.some()
                if not data:
                    return came + b"<end>"
                came += data
            return came
    except TimeoutError:
        return came + b"<nothing more>"
    except OSError:
        return came + b"<reset>"


# --------------------------------------------------------------------------- both


async def repeated(request: Request, ask: Callable[[Request], Awaitable[Seen | None]]) -> Seen:
    """The same request again and again: how often which answer came."""
    answers: list[str] = []
    for _ in range(request.repeat):
        seen = await ask(replace(request, repeat=0)) or {"start": "nothing", "body": ""}
        status = seen["start"].split(" ")[1:2] or [seen["start"]]
        answers.append(f"{status[0]} {seen['body']}")
    return counted(answers, request.tolerance, as_set=request.as_set)


async def _converse_h2(conversation: Conversation, caller: Caller) -> Seen:
    tls = caller.tls(conversation)
    talk = H2Talk(caller.port, tls, conversation.source, caller.arrived)
    async with AsyncExitStack() as stack:
        keeper = caller.held if conversation.hold else stack
        await keeper.enter_async_context(talk)
        talk.begin(conversation.first, conversation.settings, raw=bool(conversation.frames))
        if conversation.frames:
            return await say_frames(talk.wire, conversation.frames, conversation)
        if conversation.hang_up:
            await talk.open(conversation.requests[0])
            await caller.arrived.wait()
            return {"hung up": True}
        if conversation.pipelined:
            tasks = (talk.ask(request) for request in conversation.requests)
            responses = list(await asyncio.gather(*tasks))
        else:
            responses = [
                await (repeated(each, talk.ask) if each.repeat else talk.ask(each))
                for each in conversation.requests
            ]
        seen: Seen = {"responses": responses}
        return seen | (await talk.end(CLOSE_DEADLINE_S) if conversation.closes else {})
