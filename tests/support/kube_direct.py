"""A reflector on a fake cluster without sockets, and a clock that only moves when it sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from controlplane.sources.kubernetes.answers import (
    ApiError,
    Document,
    Event,
    Resource,
    error_of,
)
from controlplane.sources.kubernetes.client import Query
from controlplane.sources.kubernetes.reflector import Pace, Reflector
from controlplane.sources.kubernetes.replica import Change, Name
from tests.support.kube_cluster import VERBS, Cluster, Kind, Refused, told

SERVICES = "/api/v1/services"


@dataclass
class DirectApi:
    """Api of one collection. fail: raised by the next calls, one each, None for none."""

    cluster: Cluster
    plural: str = "services"
    fail: list[Exception | None] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    page: int = 2

    def _begin(self, query: Query) -> None:
        self.asked.append(dict(query))
        if self.fail and (error := self.fail.pop(0)) is not None:
            raise error

    async def get(self, path: str, query: Query | None = None, accept: str = "") -> Document:
        """Pages are smaller than asked for, as a server may do."""
        await asyncio.sleep(0)
        asked = dict(query or {})
        self._begin(asked)
        if "limit" in asked:
            asked["limit"] = str(self.page)
        kind = self.cluster.named(self.plural)
        try:
            return self.cluster.listing(kind, asked, lambda document: True)
        except Refused as refused:
            raise error_of(refused.code, refused.status) from None

    async def watch(
        self, path: str, query: Query, opened: Callable[[], None]
    ) -> AsyncGenerator[Event, None]:
        await asyncio.sleep(0)
        self._begin(query)
        try:
            kind = self.cluster.named(self.plural)
            watch = self.cluster.watch(kind, query, lambda document: True)
        except Refused as refused:
            raise error_of(refused.code, refused.status) from None
        opened()
        try:
            async with aclosing(told(watch)) as events:
                async for one in events:
                    if one["type"] == "ERROR":
                        raise error_of(0, one["object"])
                    yield Event(one["type"], one["object"])
        finally:
            if watch in self.cluster.watches:
                self.cluster.watches.remove(watch)


@dataclass
class Heard:
    """A Listener that keeps the state as it is told: name -> document."""

    state: dict[Name, Document] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    changes: int = 0
    breaks: Exception | None = None
    """Raised once."""

    async def changed(self, changes: Sequence[Change]) -> None:
        if self.breaks is not None:
            error, self.breaks = self.breaks, None
            raise error
        for name, document in changes:
            self.changes += 1
            if document is None:
                self.state.pop(name, None)
            else:
                self.state[name] = document
        await asyncio.sleep(0)

    def listed(self, why: str) -> None:
        self.lists.append(why)

    def heard(self, event: Event) -> None:
        self.events.append(event)

    def failed(self, error: Exception) -> None:
        self.failures.append(error)

    def succeeded(self) -> None:
        self.failures.clear()


@dataclass
class Clock:
    """Sleeping takes no time and moves it."""

    now_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    def pace(self, initial_idle_s: float = 5.0) -> Pace:
        return Pace(self.sleep, lambda: self.now_s, lambda: 1.0, initial_idle_s)


@dataclass
class Reflected:
    """A running reflector and what it has told."""

    api: DirectApi
    heard: Heard
    clock: Clock
    reflector: Reflector
    task: asyncio.Task[None]

    @classmethod
    def start(
        cls, cluster: Cluster, *, streaming: bool = False, initial_idle_s: float = 5.0
    ) -> Reflected:
        api, heard, clock = DirectApi(cluster), Heard(), Clock()
        pace = clock.pace(initial_idle_s)
        made = Reflector(api, SERVICES, "", heard, streaming=streaming, pace=pace)
        task = asyncio.get_running_loop().create_task(made.run())
        return cls(api, heard, clock, made, task)

    async def settle(self, rounds: int = 400) -> None:
        """Until it has told what there is. Fails if it never does."""
        quiet = 0
        for _ in range(rounds):
            quiet = quiet + 1 if self.agrees and self._idle else 0
            if quiet == 5:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{self.heard.state} is not {self._truth()}: {self.api.asked[-5:]}")

    def _truth(self) -> dict[Name, Document]:
        return self.api.cluster.objects("services")

    @property
    def _idle(self) -> bool:
        """It watches, and has read all that it was told."""
        watches = self.api.cluster.watches
        return bool(self.heard.lists and watches) and all(w.queue.empty() for w in watches)

    @property
    def agrees(self) -> bool:
        return self.heard.state == self._truth()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def gone(reason: str = "Expired") -> ApiError:
    return ApiError(410, reason, "too old")


def resource_of(kind: Kind, version: str) -> Resource:
    """As discovery would tell of it."""
    verbs = frozenset(VERBS)
    return Resource(kind.group, version, kind.plural, kind.kind, kind.namespaced, verbs)
