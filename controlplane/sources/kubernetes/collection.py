"""A resource that is followed: what its reflector tells goes to the inventory, and is counted."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from controlplane.sources.kubernetes.answers import Document, Event, metadata
from controlplane.sources.kubernetes.health import Trouble, message_of
from controlplane.sources.kubernetes.intake import Intake
from controlplane.sources.kubernetes.reflector import Reflector
from controlplane.sources.kubernetes.replica import Change, Name, Replica
from controlplane.sources.kubernetes.wanted import Followed
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane.kubernetes")

SLICE = 10
"""How many objects are read before others have their turn in the loop."""
STATUS_GROUPS = frozenset(
    {
        "gateway.networking.k8s.io",
        "networking.istio.io",
        "networking.k8s.io",
        "security.istio.io",
        "telemetry.istio.io",
    }
)
"""Of their objects we say what became of them, and of which generation."""
EVENTS = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})


class Overseer(Protocol):
    """Who follows all of them."""

    @property
    def is_ready(self) -> bool: ...

    def changed(self) -> None:
        """Something means something else than before."""

    def told(self) -> None:
        """The state of this collection may be another."""

    def heard_from(self) -> None:
        """The server has said something."""

    def missed(self, error: Exception) -> None: ...


class Collection:
    """A followed resource: its reflector's Listener."""

    def __init__(
        self,
        source: Overseer,
        followed: Followed,
        intake: Intake,
        clock: Callable[[], float],
    ) -> None:
        self.followed = followed
        self.complete = False
        self.trouble = Trouble(clock, followed.kind)
        self.events: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()
        self.generations: dict[Name, int] = {}
        self._source = source
        self._intake = intake
        self._reflector: Reflector | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def replica(self) -> Replica:
        assert self._reflector is not None, "not started"
        return self._reflector.replica

    def start(self, reflector: Reflector) -> None:
        self._reflector = reflector
        self._task = spawn(reflector.run(), f"kubernetes {self.followed.resource.plural}")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def changed(self, changes: Sequence[Change]) -> None:
        resource, starting = self.followed.resource, not self._source.is_ready
        touched = False
        for count, (name, document) in enumerate(changes, start=1):
            touched |= self._generation(name, document)
            if document is None:
                touched |= self._intake.drop(resource, name)
            else:
                touched |= self._intake.take(resource, name, document, starting=starting)
            if count % SLICE == 0:
                await asyncio.sleep(0)
        if touched:
            self._source.changed()

    def _generation(self, name: Name, document: Document | None) -> bool:
        """Which one is in force, for kinds of which we say so. True: it is another, so that it is
        to be said, even if it means the same."""
        if self.followed.resource.group not in STATUS_GROUPS:
            return False
        before = self.generations.pop(name, None)
        now = metadata(document).get("generation") if document is not None else None
        if isinstance(now, int):
            self.generations[name] = now
        return self.generations.get(name) != before

    def listed(self, why: str) -> None:
        self.lists[why] += 1
        self.complete = True
        log.info("%s: %s objects listed (%s)", self.followed.kind, len(self.replica), why)
        self._source.told()

    def heard(self, event: Event) -> None:
        self.events[event.type if event.type in EVENTS else "UNKNOWN"] += 1
        self._source.heard_from()

    def failed(self, error: Exception) -> None:
        log.info("%s: %s", self.followed.kind, message_of(error))
        self._source.missed(error)
        if self.trouble.failed(error):
            self._source.told()

    def succeeded(self) -> None:
        self._source.heard_from()
        if self.trouble.succeeded():
            self._source.told()
