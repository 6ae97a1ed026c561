"""Objects that the management API applies and deletes. They live as long as the process.

    source = MemorySource(inventory, on_change)
    statuses = source.apply(manifest_text, "api")     # all or nothing
    existed = source.delete("WorkloadEntry", "default", "greeter-1")

on_change() is called, in the caller's thread, after a change that matters.
"""

from __future__ import annotations

from collections.abc import Callable

from controlplane.inventory import (
    API,
    PRECEDENCE,
    Inventory,
    Origin,
    duplicate,
    duplicates,
)
from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.parse import Parsed, parse
from controlplane.mesh.model import Status
from controlplane.sources.held_shut import shut


class MemorySource:
    __slots__ = ("_inventory", "_on_change")

    def __init__(self, inventory: Inventory, on_change: Callable[[], None]) -> None:
        self._inventory = inventory
        self._on_change = on_change

    def apply(self, manifest: str, source: str = "api") -> tuple[Status, ...]:
        """Puts every object of `manifest` in place, or none when a status is an error."""
        parsed, statuses = self.examine(manifest, source)
        if not any(status.severity == "error" for status in statuses):
            changes = [self._inventory.put(item) for item in parsed.objects]
            changes += [self._release(item.key) for item in parsed.objects]
            if any(changes):
                self._on_change()
        return statuses

    def examine(self, manifest: str, source: str = "api") -> tuple[Parsed, tuple[Status, ...]]:
        """What `apply` would take, and what it would say."""
        parsed = parse(manifest, source)
        statuses = [*parsed.statuses, *duplicates(parsed.objects)]
        statuses += [
            duplicate(item, first, PRECEDENCE)
            for item in parsed.objects
            if (first := self._inventory.find(item.key, besides=API)) is not None
        ]
        return parsed, tuple(statuses)

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Removes an object that was applied; False when there is none."""
        key = ObjectKey(kind, namespace or "default", name)
        existed = self._inventory.remove(key) | self._release(key)
        if existed:
            self._on_change()
        return existed

    def hold_shut(self, key: ObjectKey, manifest: str, source: str) -> None:
        """A policy that was in force and is refused now: what it guards is denied until it is
        applied again or deleted. Nothing is done where another origin has it in force."""
        if self._inventory.find(key) is None:
            objects, status = shut(key, parse(manifest, source), source)
            self._inventory.replace(Origin.held(str(key)), objects, [status])
            self._on_change()

    def say(self, status: Status) -> None:
        """Something that no object can be blamed for, until the next start."""
        self._inventory.replace(Origin.held(status.object), (), [status])
        self._on_change()

    def _release(self, key: ObjectKey) -> bool:
        return self._inventory.replace(Origin.held(str(key)), ())
