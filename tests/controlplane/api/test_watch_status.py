"""WatchStatus: the newest state, without a message for each of many changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from controlplane.api.management import Actions, ManagementService
from controlplane.ca.authenticate import Authenticator
from controlplane.ca.tokens import JoinTokens
from controlplane.objects import Application, Deletion, Outcome, Query, Stored
from controlplane.status import StatusRegistry
from controlplane.tasks import spawn
from protos.gen.weft.v1 import management_pb2 as pb
from tests.support.mesh import mesh
from tests.support.wait import eventually_async


class AdminContext:
    """What the service asks of a call that carries the administrator's token."""

    def invocation_metadata(self) -> Any:
        return (("authorization", "Bearer a-long-admin-token"),)

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def believe(self, principal: str) -> None:
        """There is no connection that could be somebody's."""


async def _apply(asked: Application) -> Outcome:
    return Outcome(())


async def _delete(kind: str, namespace: str, name: str, wait_s: float | None) -> Deletion:
    return Deletion(existed=False)


async def _find(query: Query) -> list[Stored]:
    return []


async def _watch(query: Query) -> AsyncIterator[tuple[str, Stored | None]]:
    yield "synced", None


async def test_many_changes_are_few_messages_and_the_last_one_is_the_newest(
    tmp_path: Path,
) -> None:
    changes = 300
    registry = StatusRegistry()
    tokens = JoinTokens(tmp_path / "tokens.json", "td")
    authenticator = Authenticator(tokens, "a-long-admin-token", "td")
    service = ManagementService(
        authenticator, tokens, Actions(_apply, _delete, _find, _watch), registry
    )
    seen: list[str] = []

    async def watch() -> None:
        context: Any = AdminContext()
        messages = service.WatchStatus(pb.GetStatusRequest(), context)
        while True:
            seen.append((await anext(messages)).version)

    watching = spawn(watch(), "watch")
    await eventually_async(lambda: seen, what="the state at the beginning")
    for number in range(1, changes + 1):
        registry.configured(str(number), mesh(), (), 0.0)
        await asyncio.sleep(0)
    await eventually_async(lambda: seen[-1] == str(changes), what="the newest state")
    assert len(seen) < changes / 3
    watching.cancel()
