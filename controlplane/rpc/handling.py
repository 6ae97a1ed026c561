"""From a call to its handler and back, in gRPC's four forms.

A unary request's handler begins with the message, another one with the head. What a handler raises
ends the call and is logged; the server lives on.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import aclosing
from typing import Any

import grpc.aio

from controlplane.rpc import codes
from controlplane.rpc.call import Call
from controlplane.rpc.context import Context
from controlplane.rpc.methods import Method

log = logging.getLogger("weft.controlplane.rpc")


async def handle(call: Call) -> None:
    """Until the call is over; raises only CancelledError, and that of nobody else's doing."""
    context = Context(call)
    method = call.method
    try:
        await (_many if method.response_streaming else _one)(call, method, context)
    except grpc.aio.AbortError:
        pass  # the status has been said
    except codes.CallRefused as error:
        call.finish(error.code, str(error))
    except asyncio.CancelledError:
        if not call.over:
            call.finish(codes.CANCELLED, "the server has cancelled the call")
            raise
    except Exception as error:
        if call.over and isinstance(error, grpc.aio.BaseError):
            return  # it wrote to a client that has gone
        log.exception("call failed method=%s peer=%s", call.path, call.peer())
        call.finish(codes.UNKNOWN, f"Unexpected {type(error)}: {error}")


async def _request(call: Call, method: Method, context: Context) -> Any:
    if method.request_streaming:
        return Requests(call, context)
    message = await call.read()
    if message is None:
        raise codes.CallRefused(codes.INTERNAL, "the call has no request message")
    return context.decoded(message)


async def _one(call: Call, method: Method, context: Context) -> None:
    response = await method.act(await _request(call, method, context), context)
    if context.well:
        call.send(context.encoded(response))
    context.finish()


async def _many(call: Call, method: Method, context: Context) -> None:
    responses = method.act(await _request(call, method, context), context)
    if inspect.isasyncgen(responses):
        async with aclosing(responses):
            async for response in responses:
                await context.write(response)
    else:
        await responses
    context.finish()


class Requests:
    """The requests of a stream, to be iterated over once."""

    __slots__ = ("_call", "_context")

    def __init__(self, call: Call, context: Context) -> None:
        self._call = call
        self._context = context

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Any:
        message = await self._call.read()
        if message is None:
            raise StopAsyncIteration
        return self._context.decoded(message)
