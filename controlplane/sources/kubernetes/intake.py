"""Documents of the API server -> the inventory: typed, with provenance, the last good one kept.

An object that can not be read keeps its last good version in force, a policy over a restart, too
(controlplane.sources.last_good); one that has none at the start shuts its namespace (held_shut).
"""

from __future__ import annotations

import json

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.objects import Object
from controlplane.kinds.parse import Parsed, parse_value
from controlplane.mesh.model import Status
from controlplane.sources.held_shut import KINDS as POLICIES
from controlplane.sources.held_shut import stand_ins
from controlplane.sources.kubernetes.answers import Document, Resource
from controlplane.sources.kubernetes.lean import lean
from controlplane.sources.kubernetes.replica import Name
from controlplane.sources.last_good import LastGood

SOURCE = "kubernetes"


def source_of(resource: Resource, name: Name) -> str:
    """Where an object is: 'kubernetes:Service/default/web'; two kinds may share a name."""
    return ":".join((SOURCE, "/".join(part for part in (resource.kind, *name) if part)))


def origin_of(resource: Resource, name: Name) -> Origin:
    """group too: Gateway is a kind of two."""
    return Origin.kubernetes(f"{source_of(resource, name)} {resource.group}")


class Intake:
    __slots__ = ("_inventory", "_last_good")

    def __init__(self, inventory: Inventory, last_good: LastGood | None = None) -> None:
        """last_good: policies by their source; None: they are not kept."""
        self._inventory = inventory
        self._last_good = last_good or LastGood(None)

    def take(
        self, resource: Resource, name: Name, document: Document, *, starting: bool = False
    ) -> bool:
        """True: it means something else than before. starting: nothing was in force yet."""
        inventory, origin = self._inventory, origin_of(resource, name)
        source = source_of(resource, name)
        made = lean(resource, document)
        parsed = parse_value(made, source)
        before = inventory.objects_of(origin)
        statuses = parsed.statuses
        if resource.kind in POLICIES:
            if starting and not before and parsed.failed:
                before = self._last_good.policies(source, "")
                statuses += tuple(_held(parsed, item) for item in before)
            self._last_good.note(source, json.dumps(made), parsed)
        objects = parsed.objects or before
        known = frozenset(item.key for item in before)
        for item, status in stand_ins(parsed, known, source, starting=starting):
            objects = (item,)
            statuses += (status,)
        there = inventory.objects_of(origin)
        if (objects, statuses) == (there, inventory.statuses_of(origin)):
            return False
        return inventory.replace(origin, objects, statuses)

    def drop(self, resource: Resource, name: Name) -> bool:
        """True: it was there."""
        self._last_good.forget((source_of(resource, name),))
        return self._inventory.replace(origin_of(resource, name), ())


def _held(parsed: Parsed, kept: Object) -> Status:
    message = f"{kept.key} can't be read; in force as before the start"
    return Status(parsed.statuses[0].position, "warning", "HeldLastGood", str(kept.key), message)
