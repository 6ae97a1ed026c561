"""Documents of the API server -> the inventory: typed, with provenance, the last good one kept.

An object that can not be read keeps its last good version in force; a policy that has none at the
start shuts its namespace (controlplane.sources.held_shut).
"""

from __future__ import annotations

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse_value
from controlplane.sources.held_shut import stand_ins
from controlplane.sources.kubernetes.answers import Document, Resource
from controlplane.sources.kubernetes.lean import lean
from controlplane.sources.kubernetes.replica import Name

SOURCE = "kubernetes"


def source_of(resource: Resource, name: Name) -> str:
    """Where an object is: 'kubernetes:Service/default/web'; two kinds may share a name."""
    return ":".join((SOURCE, "/".join(part for part in (resource.kind, *name) if part)))


def origin_of(resource: Resource, name: Name) -> Origin:
    """group too: Gateway is a kind of two."""
    return Origin.kubernetes(f"{source_of(resource, name)} {resource.group}")


class Intake:
    __slots__ = ("_inventory",)

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def take(
        self, resource: Resource, name: Name, document: Document, *, starting: bool = False
    ) -> bool:
        """True: it means something else than before. starting: nothing was in force yet."""
        inventory, origin = self._inventory, origin_of(resource, name)
        source = source_of(resource, name)
        parsed = parse_value(lean(resource, document), source)
        before = inventory.objects_of(origin)
        objects = parsed.objects or before
        statuses = parsed.statuses
        known = frozenset(item.key for item in before)
        for item, status in stand_ins(parsed, known, source, starting=starting):
            objects = (item,)
            statuses += (status,)
        if (objects, statuses) == (before, inventory.statuses_of(origin)):
            return False
        return inventory.replace(origin, objects, statuses)

    def drop(self, resource: Resource, name: Name) -> bool:
        """True: it was there."""
        return self._inventory.replace(origin_of(resource, name), ())
