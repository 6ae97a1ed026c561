"""Puts a manifest in force and says when every proxy has it, or why not.

python examples/client/roll_out.py route.yaml            # the mesh of .weft in this directory
python examples/client/roll_out.py route.yaml --watch    # and what becomes of its objects then
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from weft.client import Client, StateDir, UserError

WAIT_S = 30.0


async def roll_out(source: str, manifest: str) -> bool:
    """Whether it is live everywhere. source: what positions begin with."""
    async with Client.of(StateDir(Path(".weft"))) as mesh:
        done = await mesh.apply({source: manifest}, wait_s=WAIT_S)
    for status in done.statuses:
        print(status)
    if done.rollout is None:
        return False
    print(f"live on {done.rollout.live} of {done.rollout.concerned} proxies")
    for node, why in done.rollout.refused:
        print(f"{node} refused it: {why}")
    return done.rollout.over and not done.rollout.refused


async def watch() -> None:
    """Every object that is in force, and each change, until Ctrl-C."""
    async with Client.of(StateDir(Path(".weft"))) as mesh:
        async for what, one in mesh.watch("", "", "", {}):
            if one is not None:
                print(f"{what}: {one.kind} {one.namespace}/{one.name} at {one.position}")


def main() -> int:
    path = sys.argv[1]
    try:
        live = asyncio.run(roll_out(path, Path(path).read_text()))
        if "--watch" in sys.argv:
            asyncio.run(watch())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if live else 1


if __name__ == "__main__":
    sys.exit(main())
