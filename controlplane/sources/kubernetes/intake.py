"""Documents of the API server -> the inventory: typed, with provenance, the last good one kept.

An object that can not be read keeps its last good version in force; a policy that has none at the
start shuts its namespace (controlplane.sources.held_shut). What only the server itself needs is
dropped before anything else is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.core import EndpointSlice, Service, SliceEndpoint
from controlplane.kinds.objects import Metadata, Object
from controlplane.kinds.parse import parse_value
from controlplane.kinds.registry import KINDS
from controlplane.sources.held_shut import stand_ins
from controlplane.sources.kubernetes.answers import Document, Resource
from controlplane.sources.kubernetes.replica import Name

SOURCE = "kubernetes"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_FILLED_IN = {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
"""What the API server writes into a Service where the user wrote nothing: nobody is to be told that
it has no effect."""


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


def lean(resource: Resource, document: Document) -> Document:
    """The object as a manifest would have it, without what has no effect: reading that costs most.
    Items of a list don't say what they are."""
    cls = KINDS.get((resource.api_version, resource.kind), Object)
    made = {key: value for key, value in document.items() if key not in cls.IGNORED}
    made |= {"apiVersion": resource.api_version, "kind": resource.kind}
    if isinstance(said := document.get("metadata"), dict):
        made["metadata"] = _metadata(said)
    spec, endpoints = made.get("spec"), made.get("endpoints")
    if cls is Service and isinstance(spec, dict):
        made["spec"] = _unsaid(spec)
    elif cls is EndpointSlice and isinstance(endpoints, list):
        made["endpoints"] = [_endpoint(one) for one in endpoints]
    return made


def _metadata(said: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in said.items() if key not in Metadata.IGNORED}
    notes = made.get("annotations")
    if isinstance(notes, dict) and _LAST_APPLIED in notes:
        made["annotations"] = {k: v for k, v in notes.items() if k != _LAST_APPLIED}
    return made


def _unsaid(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if _FILLED_IN.get(key) != value}


def _endpoint(said: object) -> object:
    if not isinstance(said, dict):
        return said
    return {key: value for key, value in said.items() if key not in SliceEndpoint.IGNORED}
