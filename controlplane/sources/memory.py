"""Objects that the management API applies and deletes, as the inventory has them.

    source = MemorySource(inventory, on_change)
    parsed, statuses = source.examine(manifest_text, "api")
    source.put(parsed.objects)
    source.remove(ObjectKey("WorkloadEntry", "default", "greeter-1"))

on_change() is called, in the caller's thread, after a change that matters. Where they are kept is
the store's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controlplane.inventory import (
    API,
    PRECEDENCE,
    Inventory,
    Origin,
    duplicate,
    duplicates,
)
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.parse import Parsed, parse
from controlplane.mesh.model import Status
from controlplane.sources.held_shut import shut


class MemorySource:
    __slots__ = ("_inventory", "_on_change")

    def __init__(self, inventory: Inventory, on_change: Callable[[], None]) -> None:
        self._inventory = inventory
        self._on_change = on_change

    def examine(self, manifest: str, source: str = "api") -> tuple[Parsed, tuple[Status, ...]]:
        """What the text says, and what is to be said of it; with an error nothing of it is to be
        put in place."""
        parsed = parse(manifest, source)
        statuses = [*parsed.statuses, *duplicates(parsed.objects)]
        statuses += [
            duplicate(item, first, PRECEDENCE)
            for item in parsed.objects
            if (first := self._inventory.find(item.key, besides=API)) is not None
        ]
        return parsed, tuple(statuses)

    def put(self, objects: Iterable[Object]) -> None:
        """Another source that has one of them comes first; the inventory says so."""
        changes = [self._inventory.put(item) | self._release(item.key) for item in objects]
        if any(changes):
            self._on_change()

    def remove(self, key: ObjectKey) -> bool:
        """False when there is none."""
        existed = self._inventory.remove(key) | self._release(key)
        if existed:
            self._on_change()
        return existed

    def hold_shut(self, key: ObjectKey, manifest: str, source: str) -> None:
        """A policy that was in force and is refused now: what it guards is denied until it is
        applied again or deleted. Nothing is done where some origin has it in force."""
        if self._inventory.find(key) is None:
            objects, status = shut(key, parse(manifest, source), source)
            self._inventory.replace(Origin.held(str(key)), objects, [status])
            self._on_change()

    def say(self, about: str, *statuses: Status) -> None:
        """In the place of what was said about it before: an object, or something else that none
        can be blamed for."""
        origin = Origin.held(about)
        if self._inventory.statuses_of(origin) != statuses:
            self._inventory.replace(origin, (), statuses)
            self._on_change()

    def _release(self, key: ObjectKey) -> bool:
        return self._inventory.replace(Origin.held(str(key)), ())
