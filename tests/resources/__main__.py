"""`python -m tests.resources [--full] [--weft] [WORD ...]`: what memory it takes.

In full: 1 GB each way with a reader at 1 MB/s (17 minutes each), 10,000 idle connections, 1,000
clusters; else small versions. `--weft` leaves Envoy out; words choose: down, up, idle ...
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from tests.resources.measure import (
    MB,
    Starter,
    configured_bytes,
    download,
    idle_connection_bytes,
    streams_at_once,
    upload,
)
from tests.support import compiled
from tests.support.envoy import envoy
from tests.support.weft_proxy import weft_proxy

Measure = Callable[[Starter], Awaitable[str]]


def _measures(*, full: bool) -> dict[str, Measure]:
    body, rate, stall_s = (1024 * MB, MB, 1.0) if full else (64 * MB, 256 * MB, 0.5)
    connections, clusters = (10_000, 1000) if full else (1000, 300)

    async def down(start: Starter) -> str:
        return f"{await download(start, body, rate, stall_s) / MB:.1f} MB more"

    async def up(start: Starter) -> str:
        return f"{await upload(start, body, rate, stall_s) / MB:.1f} MB more"

    async def idle(start: Starter) -> str:
        return f"{await idle_connection_bytes(start, connections) / 1024:.1f} KB each"

    async def configured(start: Starter) -> str:
        return f"{await configured_bytes(start, clusters) / 1024:.1f} KB each"

    async def streams(start: Starter) -> str:
        answers = await streams_at_once(start, 1000)
        return f"{sum(answer.start == 'HTTP/2 200' for answer in answers)} answered"

    return {
        f"{body // MB} MB down, slow client": down,
        f"{body // MB} MB up, slow upstream": up,
        f"{connections} idle connections": idle,
        f"{clusters} clusters and virtual hosts": configured,
        "1000 streams at once": streams,
    }


async def main(arguments: list[str]) -> None:
    print(f"measured: {compiled.use_if_ready()}")
    words = [word for word in arguments if not word.startswith("-")]
    sides = {"weft": weft_proxy} if "--weft" in arguments else SIDES
    for what, measure in _measures(full="--full" in arguments).items():
        if not words or any(word in what for word in words):
            told = [f"{name} {await measure(start)}" for name, start in sides.items()]
            print(f"{what}: {', '.join(told)}", flush=True)


SIDES: dict[str, Starter] = {"weft": weft_proxy, "envoy": envoy}

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
