"""Which routes are at which listeners: Gateway API's attachment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from controlplane.kinds.gateway_api.references import ParentReference
from controlplane.kinds.gateway_api.words import GROUP
from controlplane.kinds.objects import Object
from controlplane.mesh.conditions import Parent
from controlplane.translate.gateways.hosts import in_common
from controlplane.translate.gateways.listeners import NamespaceLabels, State
from controlplane.translate.gateways.words import Fault
from protos.frozen import frozen

Place = tuple[str, str, str]
"""Kind, namespace and name of a parent."""


@frozen
class Attachment:
    """A listener takes a route, under these hosts ('*' for any)."""

    state: State
    hosts: tuple[str, ...]


@frozen
class Attached:
    """What became of one parent reference."""

    parent: Parent
    fault: Fault | None
    places: tuple[Attachment, ...] = ()


class Attacher:
    __slots__ = ("_defaults", "_namespaces", "_parents")

    def __init__(
        self,
        parents: Mapping[Place, list[State]],
        namespaces: NamespaceLabels,
        defaults: Iterable[tuple[str, str]] = (),
    ) -> None:
        """defaults: namespaces and names of Gateways that are everybody's."""
        self._parents = parents
        self._defaults = tuple(defaults)
        self._namespaces = namespaces

    def attach(
        self,
        route: Object,
        parents: Sequence[ParentReference],
        hosts: tuple[str, ...],
        by_default: bool = False,
    ) -> tuple[Attached, ...]:
        """One for each reference to a parent that is ours. by_default: and for each Gateway of
        everybody's that takes the route, and which it does not name."""
        named = tuple(
            self._attach(route, parent, self._parents[place], hosts)
            for parent in parents
            if (place := _place(route, parent)) in self._parents
        )
        if not by_default:
            return named
        places = {_place(route, parent) for parent in parents}
        others = (
            self._attach(route, parent, self._parents[place], hosts)
            for namespace, name in self._defaults
            if (place := ("Gateway", namespace, name)) not in places
            for parent in (ParentReference(name=name, namespace=namespace),)
        )
        return (*named, *(one for one in others if one.fault is None))

    def _attach(
        self,
        route: Object,
        parent: ParentReference,
        found: Iterable[State],
        hosts: tuple[str, ...],
    ) -> Attached:
        named = parent_of(parent)
        meant = [
            state
            for state in found
            if parent.section_name in ("", state.listener.name)
            and parent.port in (None, state.listener.port)
        ]
        if not meant:
            at = f" at port {parent.port}" if parent.port is not None else ""
            what = (
                f"listener {parent.section_name!r}{at}" if parent.section_name else f"listener{at}"
            )
            message = f"{parent.kind} {parent.name} has no {what}"
            return Attached(named, Fault("NoMatchingParent", message))
        allowed = [state for state in meant if self._allows(state, route)]
        if not allowed:
            message = f"no listener takes a {route.kind()} of the namespace {route.namespace!r}"
            return Attached(named, Fault("NotAllowedByListeners", message))
        places = tuple(
            Attachment(state, common)
            for state in allowed
            if (common := in_common(state.listener.hostname, hosts))
        )
        if not places:
            message = "no listener has a host name in common with the route's"
            return Attached(named, Fault("NoMatchingListenerHostname", message))
        return Attached(named, None, places)

    def _allows(self, state: State, route: Object) -> bool:
        own, namespaces = state.owner.namespace, state.listener.allowed_routes.namespaces
        kind = (GROUP, route.kind())
        return kind in state.kinds and self._namespaces.allows(namespaces, own, route.namespace)


def _place(route: Object, parent: ParentReference) -> Place:
    kind = parent.kind if parent.group == GROUP else ""
    return kind, parent.namespace or route.namespace, parent.name


def parent_of(parent: ParentReference) -> Parent:
    """What conditions call it."""
    return Parent(
        parent.group,
        parent.kind,
        parent.namespace,
        parent.name,
        parent.section_name,
        parent.port,
    )
