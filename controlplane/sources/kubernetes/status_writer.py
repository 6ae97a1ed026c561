"""Writes what we have to say of objects back to their status: only the leader, only what is new.

    writer.write_status(key, Parents(controller, parents))     # at once: it only remembers
    task = spawn(writer.run(), "status")

Each object is read, its status edited, and replaced under the version that was read, so that
nothing of what others write is lost; a status that is as it should be is not written. Everybody
remembers what there is to say, so that a new leader says it all once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from controlplane.kinds.objects import ObjectKey
from controlplane.sources.kubernetes.answers import ApiError, Document, Resource, mapping
from controlplane.sources.kubernetes.backoff import Backoff
from controlplane.sources.kubernetes.client import UNREACHABLE, Client
from controlplane.sources.kubernetes.edits import Edit

log = logging.getLogger("weft.controlplane.kubernetes")

EVERY_S = 0.05
"""Not more than 20 a second."""
LOOK_EVERY_S = 2.0
"""How often to see whether we lead by now."""
ATTEMPTS = 3
"""With a newer version each, when somebody else writes at the same time."""


class StatusWriter:
    def __init__(
        self,
        client: Client,
        resource_of: Callable[[str], Resource | None],
        term: Callable[[], int],
        chance: Callable[[], float],
        told: Callable[[str, str], None],
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        """resource_of: of an ObjectKey's kind, None if it is not followed. term: which term of
        office it is, 0 while we do not lead. told(kind, why): why statuses of a kind can not be
        written, '' when they can."""
        self._client = client
        self._resource_of = resource_of
        self._term = term
        self._backoff = Backoff(chance)
        self._told = told
        self._sleep = sleep
        self._wanted: dict[ObjectKey, Edit] = {}
        self._pending: dict[ObjectKey, None] = {}
        self._written_in = 0
        self._news = asyncio.Event()
        self.writes = 0

    def write_status(self, key: ObjectKey, edit: Edit) -> None:
        if self._wanted.get(key) != edit:
            self._wanted[key] = edit
            self._pending[key] = None
            self._news.set()

    def forget(self, key: ObjectKey) -> None:
        """There is nothing to be said of it any more, or it is gone."""
        self._wanted.pop(key, None)
        self._pending.pop(key, None)

    @property
    def keys(self) -> tuple[ObjectKey, ...]:
        """Of what there is something to say."""
        return tuple(self._wanted)

    async def run(self) -> NoReturn:
        while True:
            term = self._term()
            if term and term != self._written_in:
                self._pending = dict.fromkeys(self._wanted)
                self._written_in = term
            if not term or not self._pending:
                await self._wait()
                continue
            key = next(iter(self._pending))
            del self._pending[key]
            try:
                await self._write(key)
                self._backoff.reset()
                await self._sleep(EVERY_S)
            except (ApiError, *UNREACHABLE) as error:
                await self._failed(key, error)
            except Exception:
                log.exception("the status of %s is not understood; it is left as it is", key)

    async def _wait(self) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _failed(self, key: ObjectKey, error: Exception) -> None:
        if isinstance(error, ApiError) and error.status == 404:
            self.forget(key)
            return
        self._pending.setdefault(key)  # last of all
        resource = self._resource_of(key.kind)
        if isinstance(error, ApiError) and error.status == 403 and resource is not None:
            self._told(
                resource.kind, f"{error.message}; the account lacks this rule: {rule(resource)}"
            )
        log.info("the status of %s can not be written: %s", key, error)
        after_s = error.retry_after_s if isinstance(error, ApiError) else 0.0
        await self._sleep(self._backoff.next_s(after_s))

    async def _write(self, key: ObjectKey) -> None:
        edit, resource = self._wanted.get(key), self._resource_of(key.kind)
        if edit is None or resource is None:
            return
        path = resource.path(key.namespace, key.name)
        for attempt in range(ATTEMPTS):
            document = await self._client.get(path)
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            before = mapping(document.get("status"))
            after = edit(before, now)
            if after == before:
                return
            try:
                await self._put(f"{path}/status", {**document, "status": after})
            except ApiError as error:
                if error.status != 409 or attempt == ATTEMPTS - 1:
                    raise
            else:
                self._told(resource.kind, "")
                return

    async def _put(self, path: str, document: Document) -> None:
        """409 Conflict: it is another version by now."""
        if self._term():
            await self._client.send("PUT", path, {"fieldManager": "weft"}, body=document)
            self.writes += 1


def rule(resource: Resource) -> str:
    verbs = "verbs: [get, update]"
    group, plural = resource.group, resource.plural
    return f'{{apiGroups: ["{group}"], resources: [{plural}, {plural}/status], {verbs}}}'
