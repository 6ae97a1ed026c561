"""Gateway API's conditions, as translation found them -> what is to be written into a status. Pure.

`observedGeneration` is that of the object that was translated: whoever waits for it may believe the
rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.registry import KINDS
from controlplane.mesh.conditions import (
    CONTROLLERS,
    Condition,
    ListenerConditions,
    ObjectConditions,
    Parent,
    ParentConditions,
)
from controlplane.mesh.ip import is_ip
from controlplane.sources.kubernetes.edits import Ancestors, Edit, Fields, Parents

GROUP = "gateway.networking.k8s.io"
_POLICIES = frozenset({"BackendTLSPolicy"})
MAX_ADDRESSES = 16
"""As many as the CRD allows."""
_OWN = frozenset({"Gateway", "GatewayClass", "ListenerSet"})


def key_of(told: ObjectConditions) -> ObjectKey:
    """As the inventory has it; what is of no namespace is in 'default'."""
    cls = KINDS.get((f"{GROUP}/v1", told.kind))
    kind = told.kind if cls is None else cls.KIND or cls.__name__
    return ObjectKey(kind, told.namespace or "default", told.name)


def edit_of(told: ObjectConditions, generation: int) -> Edit:
    if told.kind == "Ingress":
        return Fields({"loadBalancer": _load_balancer(told.addresses or ())})
    if told.kind in _OWN:
        return Fields(_own(told, generation))
    if told.kind in _POLICIES:
        return Ancestors(CONTROLLERS, _by(told.parents, "ancestorRef", generation))
    return Parents(CONTROLLERS, _by(told.parents, "parentRef", generation))


def withdrawn(kind: str) -> Edit | None:
    """When nothing is said of an object any more: what we said of a route or policy goes, and where
    an Ingress was reached by us."""
    if kind == "Ingress":
        return Fields({"loadBalancer": {}})
    if kind in _OWN:
        return None
    return Ancestors(CONTROLLERS, ()) if kind in _POLICIES else Parents(CONTROLLERS, ())


def _by(
    parents: Iterable[ParentConditions], reference: str, generation: int
) -> list[dict[str, Any]]:
    return [
        {
            reference: _reference(one.parent),
            "controllerName": one.controller or CONTROLLERS[0],
            "conditions": _conditions(one.conditions, generation),
        }
        for one in parents
    ]


def _load_balancer(addresses: Iterable[str]) -> dict[str, Any]:
    there = [{"ip" if is_ip(one) else "hostname": one} for one in addresses]
    return {"ingress": there} if there else {}


def _own(told: ObjectConditions, generation: int) -> dict[str, Any]:
    made: dict[str, Any] = {"conditions": _conditions(told.conditions, generation)}
    if told.features:
        made["supportedFeatures"] = [{"name": name} for name in told.features]
    if told.kind != "GatewayClass":
        made["listeners"] = [_listener(one, generation) for one in told.listeners]
    if told.attached_sets:
        made["attachedListenerSets"] = told.attached_sets
    if told.addresses is not None:
        made["addresses"] = [
            {"type": "IPAddress" if is_ip(one) else "Hostname", "value": one}
            for one in told.addresses[:MAX_ADDRESSES]
        ]
    return made


def _listener(told: ListenerConditions, generation: int) -> dict[str, Any]:
    return {
        "name": told.name,
        "supportedKinds": [{"group": group, "kind": kind} for group, kind in told.supported_kinds],
        "attachedRoutes": told.attached_routes,
        "conditions": _conditions(told.conditions, generation),
    }


def _conditions(told: Iterable[Condition], generation: int) -> list[dict[str, Any]]:
    return [
        {
            "type": one.type,
            "status": one.status,
            "reason": one.reason,
            "message": one.message,
            "observedGeneration": generation,
        }
        for one in told
    ]


def _reference(parent: Parent) -> dict[str, Any]:
    """With the defaults that the API server fills in, so that it is recognized when it is read."""
    kind = parent.kind or "Gateway"
    made: dict[str, Any] = {
        "group": parent.group or ("" if kind == "Service" else GROUP),
        "kind": kind,
        "name": parent.name,
    }
    if parent.namespace:
        made["namespace"] = parent.namespace
    if parent.section_name:
        made["sectionName"] = parent.section_name
    if parent.port is not None:
        made["port"] = parent.port
    return made
