"""Steps of Gateway API's conformance tests that ask for status conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from controlplane.mesh.conditions import Condition, ListenerConditions, ObjectConditions
from controlplane.mesh.model import Mesh

Wanted = Mapping[str, Any]
Args = list[Any]
_ACCEPTED = {"Type": "Accepted", "Status": "True"}
_RESOLVED = {"Type": "ResolvedRefs", "Status": "True"}
_PROGRAMMED = {"Type": "Programmed", "Status": "True"}
_GENERATED = {
    "generateAcceptedListenerConditions()": [_ACCEPTED, _PROGRAMMED, _RESOLVED],
    "generateSupportedRouteKinds()": [{"Kind": "HTTPRoute"}, {"Kind": "GRPCRoute"}],
}
_API = "gateway.networking.k8s.io"


class Conditions:
    """What translation says of one scene, asked by the names of the suite's functions."""

    def __init__(self, mesh: Mesh) -> None:
        self._of = {(one.kind, one.namespace, one.name): one for one in mesh.conditions}

    def judge(self, step: str, args: Args) -> str | None:
        """What is wrong, '' for nothing; None for a step that asks for something else."""
        name = step.split(".")[-1]
        asked = _STEPS.get(name)
        if asked is not None:
            return "; ".join(asked(self, *args))
        for kind in ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"):
            if name.startswith(kind) and (of_route := _ROUTE_STEPS.get(name[len(kind) :])):
                return "; ".join(of_route(self, kind, *args))
        return None

    def _find(self, kind: str, name: Wanted) -> ObjectConditions:
        key = (kind, name.get("Namespace", ""), name["Name"])
        return self._of.get(key, ObjectConditions(*key))

    # ------------------------------------------------------------------ gateways

    def accepted(self, place: Wanted, *rest: Any) -> Iterator[str]:
        """Routes are a name, several, or a list of them; a type stands before for some."""
        kind = next((one["_type"].split(".")[-1] for one in rest if _is_type(one)), "")
        yield from self._accepted_at("Gateway", place["gateway"], kind, rest)

    def accepted_at(self, place: Wanted, *rest: Any) -> Iterator[str]:
        """By a parent that the suite's code names: one of them must have accepted."""
        kind = next((one["_type"].split(".")[-1] for one in rest if _is_type(one)), "")
        for name in _names(rest):
            found = self._parents(kind, name, None)
            if all(list(_missing(conditions, [_ACCEPTED], "")) for conditions in found):
                yield f"no parent has accepted {name['Name']}"

    def _accepted_at(
        self, parent: str, at: Wanted, kind: str, rest: tuple[Any, ...]
    ) -> Iterator[str]:
        for name in _names(rest):
            kinds = [kind] if kind else ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"]
            found = [c for one in kinds for c in self._parents(one, name, at)]
            yield from self._all(found, [_ACCEPTED], name)

    def gateway_has(self, name: Wanted, wanted: Wanted) -> Iterator[str]:
        yield from _missing(self._find("Gateway", name).conditions, [wanted], name["Name"])

    def gateway_has_any(self, name: Wanted) -> Iterator[str]:
        if not self._find("Gateway", name).conditions:
            yield f"no conditions of {name['Name']}"

    def class_has_any(self, name: Any) -> Iterator[str]:
        named = name["Name"] if isinstance(name, dict) else name
        found = self._find("GatewayClass", {"Name": named}).conditions
        yield from _missing(found, [_ACCEPTED], named)

    def listeners(self, name: Wanted, wanted: list[Wanted]) -> Iterator[str]:
        yield from _listeners(self._find("Gateway", name).listeners, wanted)

    def set_listeners(self, name: Wanted, wanted: list[Wanted]) -> Iterator[str]:
        yield from _listeners(self._find("ListenerSet", name).listeners, wanted)

    def listener_has(self, name: Wanted, listener: str, wanted: list[Wanted]) -> Iterator[str]:
        found = [c for c in self._find("Gateway", name).listeners if c.name == listener]
        yield from _missing(found[0].conditions if found else (), wanted, listener)

    def set_listener_has(self, name: Wanted, wanted: Any, *listeners: str) -> Iterator[str]:
        for found in self._find("ListenerSet", name).listeners:
            if not listeners or found.name in listeners:
                yield from _missing(found.conditions, _generated(wanted), found.name)

    def set_has(self, name: Wanted, wanted: Wanted) -> Iterator[str]:
        yield from _missing(self._find("ListenerSet", name).conditions, [wanted], name["Name"])

    def attached_sets(self, name: Wanted, count: int) -> Iterator[str]:
        if (found := self._find("Gateway", name).attached_sets) != count:
            yield f"{found} ListenerSets are attached to {name['Name']}, not {count}"

    def no_routes(self, name: Wanted) -> Iterator[str]:
        for listener in self._find("Gateway", name).listeners:
            if listener.attached_routes:
                yield f"{listener.name} has {listener.attached_routes} routes"

    # ------------------------------------------------------------------ routes and policies

    def policy_has(self, name: Wanted, parent: Wanted, wanted: Wanted) -> Iterator[str]:
        found = self._parents("BackendTLSPolicy", name, parent)
        yield from self._all(found, [wanted], name)

    def route_has(self, kind: str, name: Wanted, parent: Wanted, wanted: Wanted) -> Iterator[str]:
        yield from self._all(self._parents(kind, name, parent), [wanted], name)

    def resolved(self, kind: str, name: Wanted, parent: Wanted) -> Iterator[str]:
        yield from self._all(self._parents(kind, name, parent), [_RESOLVED], name)

    def not_accepted(self, kind: str, name: Wanted) -> Iterator[str]:
        for conditions in self._parents(kind, name, None):
            if any(c.type == "Accepted" and c.status == "True" for c in conditions):
                yield f"{name['Name']} is accepted"

    def parents(self, kind: str, name: Wanted, wanted: list[Wanted], *_: Any) -> Iterator[str]:
        for one in wanted:
            found = self._parents(kind, name, one["ParentRef"])
            yield from self._all(found, one["Conditions"], name)

    def _parents(
        self, kind: str, name: Wanted, parent: Wanted | None
    ) -> list[tuple[Condition, ...]]:
        """Of those references that are to `parent`; of all without one."""
        found = self._find(kind, name)
        return [
            one.conditions
            for one in found.parents
            if parent is None
            or (
                one.parent.name == parent["Name"]
                and (one.parent.namespace or found.namespace) == parent["Namespace"]
            )
        ]

    def _all(
        self, found: list[tuple[Condition, ...]], wanted: list[Wanted], name: Wanted
    ) -> Iterator[str]:
        if not found:
            yield f"nothing is said of {name['Name']}"
        for conditions in found:
            yield from _missing(conditions, wanted, name["Name"])


def _is_type(value: Any) -> bool:
    return isinstance(value, dict) and "_type" in value and "Name" not in value


def _names(rest: Iterable[Any]) -> Iterator[Wanted]:
    for one in rest:
        if isinstance(one, list):
            yield from _names(one)
        elif isinstance(one, dict) and "Name" in one:
            yield one


def _generated(value: Any) -> Any:
    return _GENERATED[value["_go"]] if isinstance(value, dict) else value


def _missing(found: Iterable[Condition], wanted: Iterable[Wanted], of: str) -> Iterator[str]:
    have = {one.type: one for one in found}
    for one in wanted:
        got = have.get(one["Type"])
        status, reason = one["Status"], one.get("Reason", "")
        if got is None or got.status != status or reason not in ("", got.reason):
            told = f"{got.status} {got.reason} ({got.message})" if got else "nothing"
            yield f"{of}: {one['Type']} should be {status} {reason}, is {told}"


def _listeners(found: Iterable[ListenerConditions], wanted: list[Wanted]) -> Iterator[str]:
    have = {one.name: one for one in found}
    if have.keys() != {one["Name"] for one in wanted}:
        yield f"listeners are {sorted(have)}"
        return
    for one in wanted:
        got = have[one["Name"]]
        kinds = _generated(one.get("SupportedKinds", []))
        names = {kind for _, kind in got.supported_kinds}
        if (not kinds and "SupportedKinds" in one and names) or not {
            kind["Kind"] for kind in kinds
        } <= names:
            yield f"{got.name} supports {sorted(names)}"
        if got.attached_routes != one["AttachedRoutes"]:
            yield f"{got.name} has {got.attached_routes} routes, not {one['AttachedRoutes']}"
        yield from _missing(got.conditions, _generated(one["Conditions"]), got.name)


_STEPS: Mapping[str, Callable[..., Iterator[str]]] = {
    "NamespacesMustBeReady": lambda *_: iter(()),
    "WaitForGatewayAddress": lambda *_: iter(()),
    "GatewayAndRoutesMustBeAccepted": Conditions.accepted,
    "GatewayAndHTTPRoutesMustBeAccepted": Conditions.accepted,
    "GatewayAndTLSRoutesMustBeAccepted": Conditions.accepted,
    "GatewayAndTCPRoutesMustBeAccepted": Conditions.accepted,
    "GatewayAndUDPRoutesMustBeAccepted": Conditions.accepted,
    "RoutesAndParentMustBeAccepted": Conditions.accepted_at,
    "GatewayMustHaveCondition": Conditions.gateway_has,
    "GatewayMustHaveLatestConditions": Conditions.gateway_has_any,
    "GWCMustHaveAcceptedConditionAny": Conditions.class_has_any,
    "GatewayClassMustHaveLatestConditions": Conditions.class_has_any,
    "GatewayStatusMustHaveListeners": Conditions.listeners,
    "ListenerSetStatusMustHaveListeners": Conditions.set_listeners,
    "GatewayListenerMustHaveConditions": Conditions.listener_has,
    "ListenerSetListenersMustHaveConditions": Conditions.set_listener_has,
    "ListenerSetMustHaveCondition": Conditions.set_has,
    "GatewayMustHaveAttachedListeners": Conditions.attached_sets,
    "GatewayMustHaveZeroRoutes": Conditions.no_routes,
    "BackendTLSPolicyMustHaveCondition": Conditions.policy_has,
}
_ROUTE_STEPS: Mapping[str, Callable[..., Iterator[str]]] = {
    "MustHaveCondition": Conditions.route_has,
    "MustHaveResolvedRefsConditionsTrue": Conditions.resolved,
    "MustHaveNoAcceptedParents": Conditions.not_accepted,
    "MustHaveParents": Conditions.parents,
}
