"""Keeps one collection up to date: list, watch, and again, for ever.

    list (pages of 250, or a streaming list)  ->  watch from there, with bookmarks
      watch ends, cleanly or not              ->  watch again from where it is safe
      410 Gone, as status or as ERROR event   ->  list again; what has gone meanwhile is seen
      anything else                           ->  wait (back-off with jitter), try again

What is held stays in force through all of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import field
from typing import Any, NoReturn, Protocol

from controlplane.sources.kubernetes.answers import (
    ApiError,
    Broken,
    Event,
    mapping,
    version_of,
)
from controlplane.sources.kubernetes.backoff import Backoff
from controlplane.sources.kubernetes.client import UNREACHABLE, Api
from controlplane.sources.kubernetes.replica import Change, Replica
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.kubernetes")

PAGE = 250
WATCH_S = (240, 480)
"""A watch is asked to end after so long, at random, so that not all of them end at once."""
INITIAL_IDLE_S = 20.0
"""A streaming list that is silent for so long before its end was taken for a plain watch."""
SETTLED_S = 1.0
"""A watch that lived so long was no failure, even if it told nothing."""


class _NotStreamed(Exception):
    """The server took a streaming list for a plain watch."""


class Listener(Protocol):
    """Who is told. Everything is called in the event loop."""

    async def changed(self, changes: Sequence[Change]) -> None: ...

    def listed(self, why: str) -> None:
        """The collection is complete now. why: 'start', 'expired' or 'opaque' (its versions can't
        be compared, so that a watch can't go on where another ended)."""

    def heard(self, event: Event) -> None: ...

    def failed(self, error: Exception) -> None: ...

    def succeeded(self) -> None: ...


@frozen
class Pace:
    """Time and chance, for tests to fix."""

    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    clock: Callable[[], float] = field(default=lambda: asyncio.get_running_loop().time())
    chance: Callable[[], float] = random.random
    initial_idle_s: float = INITIAL_IDLE_S


class Reflector:
    def __init__(
        self,
        api: Api,
        path: str,
        selector: str,
        listener: Listener,
        *,
        streaming: bool,
        replica: Replica | None = None,
        pace: Pace | None = None,
    ) -> None:
        """path: of the collection. selector: a field selector, '' for all. streaming: try a
        streaming list first."""
        self._api = api
        self._path = path
        self._selector = {"fieldSelector": selector} if selector else {}
        self._listener = listener
        self._streaming = streaming
        self.replica = replica or Replica()
        self._pace = pace or Pace()
        self._backoff = Backoff(self._pace.chance)
        self._why = "start"

    async def run(self) -> NoReturn:
        while True:
            before = self._pace.clock()
            wait_s = 0.0
            try:
                told = await self._once()
                if told or self._pace.clock() - before >= SETTLED_S:
                    self._backoff.reset()
            except ApiError as error:
                self._refused(error)
                wait_s = error.retry_after_s
            except UNREACHABLE as error:
                self._listener.failed(error)
            except Exception as error:
                log.exception("%s: something is wrong in the control plane itself", self._path)
                self.replica.anew()
                self._listener.failed(error)
            await self._pace.sleep(self._backoff.next_s(wait_s))

    def _refused(self, error: ApiError) -> None:
        if error.expired and self.replica.resume is not None:
            self.replica.expired()
            self._why = "expired"
        else:
            self._listener.failed(error)

    async def _once(self) -> bool:
        """One watch, with the list that it may need. True: it told something."""
        if self.replica.resume is not None:
            return await self._watch(self.replica.resume)
        if self._streaming:
            try:
                return await self._watch(None)
            except ApiError as error:
                if error.status not in (400, 422):
                    raise
            except _NotStreamed:
                pass
            log.info("%s: no streaming lists here", self._path)
            self._streaming = False
        return await self._watch(await self._list())

    async def _list(self) -> str:
        """All pages, each taken as it comes. A continue token that expired ends them: then all of
        it is asked for in one piece."""
        self.replica.list_begins()
        query = {**self._selector, "limit": str(PAGE)}
        while True:
            try:
                page = await self._api.get(self._path, query)
            except ApiError as error:
                if not error.expired or "limit" not in query:
                    raise
                self.replica.list_begins()
                query = dict(self._selector)
                continue
            items = [item for item in page.get("items") or () if isinstance(item, dict)]
            await self._listener.changed(self.replica.page(items))
            said = mapping(page.get("metadata"))
            if not said.get("continue"):
                version = str(said.get("resourceVersion") or "")
                await self._complete(version)
                return version
            query = {**self._selector, "limit": str(PAGE), "continue": str(said["continue"])}

    async def _complete(self, version: str) -> None:
        await self._listener.changed(self.replica.list_ends(version))
        self._listener.listed(self._why)
        self._listener.succeeded()
        self._why = "opaque"

    async def _watch(self, version: str | None) -> bool:
        """None: a streaming list comes first. True: something came."""
        told = cleanly = False
        try:
            query = self._query(version)
            opened = self._listener.succeeded
            async with aclosing(self._api.watch(self._path, query, opened)) as events:
                if version is None:
                    await self._initial(events)
                    told = True
                async for event in events:
                    told = True
                    await self._heard(event)
            cleanly = True
        finally:
            if version is not None or told:
                self.replica.ended(cleanly=cleanly)
        return told

    async def _initial(self, events: AsyncGenerator[Event, None]) -> None:
        """The events of a streaming list (KEP-3157), up to the bookmark that ends them."""
        self.replica.list_begins()
        while True:
            event = await self._soon(events)
            self._listener.heard(event)
            if event.ends_initial:
                return await self._complete(version_of(event.object))
            if event.type == "DELETED":
                self.replica.not_listed(event.object)
            elif event.type != "BOOKMARK":
                await self._listener.changed(self.replica.page((event.object,)))

    async def _soon(self, events: AsyncGenerator[Event, None]) -> Event:
        try:
            async with asyncio.timeout(self._pace.initial_idle_s) as limit:
                return await anext(events)
        except StopAsyncIteration:
            raise Broken("the watch ended within its initial events") from None
        except TimeoutError:
            if limit.expired():
                raise _NotStreamed from None
            raise

    async def _heard(self, event: Event) -> None:
        self._listener.heard(event)
        if event.type not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
            raise Broken(f"an event of an unknown type {event.type[:40]!r}")
        change = self.replica.happened(event)
        if change is not None:
            await self._listener.changed((change,))

    def _query(self, version: str | None) -> dict[str, str]:
        shortest, longest = WATCH_S
        seconds = shortest + int(self._pace.chance() * (longest - shortest))
        query = {
            **self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        if version is None:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        elif version:
            query["resourceVersion"] = version
        return query
