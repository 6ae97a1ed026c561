"""The management API for programs of yours: typed, for asyncio.

    import asyncio
    from weft.client import Client

    async def main() -> None:
        async with Client.connect("mesh.example:15010", "root.pem", token) as mesh:
            done = await mesh.apply({"route.yaml": text}, wait_s=30)
            for one in done.statuses:
                print(one)          # route.yaml:7:5: error: ... (VirtualService shop/cart)
            print(done.rollout)     # live on N of M proxies
            async for what, one in mesh.watch("vs", "shop", "", {}):
                print(what, one)              # added ..., synced, modified ..., deleted ...

`Client.of(StateDir(path))` finds a control plane of this machine by its state directory. Whatever
goes wrong is a `UserError` with a text for people; `Unavailable` may work later.
"""

from __future__ import annotations

from weft.errors import UserError
from weft.management import Management as Client
from weft.management import Unavailable
from weft.state import StateDir
from weft.view import (
    AppliedFacts,
    DeletedFacts,
    MeshFacts,
    ObjectFacts,
    ProxyFacts,
    RolloutFacts,
    StoredFacts,
    SyncFacts,
    TokenFacts,
)

__all__ = [
    "AppliedFacts",
    "Client",
    "DeletedFacts",
    "MeshFacts",
    "ObjectFacts",
    "ProxyFacts",
    "RolloutFacts",
    "StateDir",
    "StoredFacts",
    "SyncFacts",
    "TokenFacts",
    "Unavailable",
    "UserError",
]
