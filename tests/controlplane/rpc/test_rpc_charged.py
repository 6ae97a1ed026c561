"""What calls are charged of the loop's time: their work, and not their waiting."""

from __future__ import annotations

import asyncio

from controlplane.rpc.limits import DEFAULT_LIMITS
from controlplane.rpc.turns import MESSAGE_S, TURN_S, Turns
from tests.controlplane.rpc.serving import SERVICE, serving
from tests.controlplane.rpc.test_rpc_hostile import Raw, framed
from tests.support.wait import eventually_async

CALLS = 3 * int(TURN_S / MESSAGE_S)
"""So that some of them wait for their turns."""


async def test_handlers_that_wait_cost_nothing_though_nobody_else_says_anything() -> None:
    now_s = 0.0
    async with serving() as (echo, port, server):
        soon = asyncio.get_running_loop().call_soon
        server.turns = Turns(soon, lambda: now_s, DEFAULT_LIMITS.max_queued_bytes)
        client = Raw(*await asyncio.open_connection("127.0.0.1", port))
        for _ in range(CALLS):
            stream = client.begin(path=f"/{SERVICE}/Waits")
            client.h2.send_data(stream, framed(b"x"), end_stream=True)
        client.send()
        await eventually_async(lambda: len(echo.contexts) == CALLS)
        now_s = 86_400.0
        echo.gate.set()
        await eventually_async(lambda: len(echo.seen) == 2 * CALLS)
        assert server.turns.left_s > -TURN_S
        client.close()
