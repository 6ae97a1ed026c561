"""Listeners of Gateways and ListenerSets: which are valid, and which routes they may take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from controlplane.kinds.gateway_api.gateway import Gateway, Listener, ListenerSet, Namespaces
from controlplane.kinds.gateway_api.words import GROUP
from controlplane.mesh.conditions import Condition, GroupKind, ListenerConditions
from controlplane.mesh.gateways import ServerTls
from controlplane.translate.gateways.words import Fault, bad, good, judged

_HTTP = ((GROUP, "HTTPRoute"), (GROUP, "GRPCRoute"))
_TLS = ((GROUP, "TLSRoute"),)
_TCP = ((GROUP, "TCPRoute"),)
KINDS: Mapping[tuple[str, str], tuple[GroupKind, ...]] = {
    ("HTTP", ""): _HTTP,
    ("HTTPS", "Terminate"): _HTTP,
    ("TLS", "Passthrough"): _TLS,
    ("TLS", "Terminate"): (*_TLS, *_TCP),
    ("TCP", ""): _TCP,
}
"""(protocol, TLS mode) -> the kinds of routes that can be attached."""

_FAMILY = {"HTTP": "plain HTTP", "HTTPS": "TLS", "TLS": "TLS", "TCP": "TCP"}


@dataclass(slots=True)
class State:
    """A listener on its way through translation. owner: whose spec it is in. accepted: what is
    wrong with it; conflict: with another one; references: with what it refers to; overlap: how its
    TLS overlaps with another one's."""

    owner: Gateway | ListenerSet
    listener: Listener
    accepted: Fault | None = None
    conflict: Fault | None = None
    references: Fault | None = None
    tls: ServerTls | None = None
    overlap: Condition | None = None
    routes: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def is_valid(self) -> bool:
        return self.accepted is None and self.conflict is None

    @property
    def is_programmed(self) -> bool:
        """InvalidRouteKinds leaves the rest of it in force."""
        fault = self.references
        return self.is_valid and (fault is None or fault.reason == "InvalidRouteKinds")

    @property
    def mode(self) -> str:
        return self.listener.tls.mode if self.listener.tls is not None else ""

    @property
    def kinds(self) -> tuple[GroupKind, ...]:
        """Those that the protocol has and allowedRoutes allows."""
        possible = KINDS.get((self.listener.protocol, self.mode), ())
        wanted = [(one.group, one.kind) for one in self.listener.allowed_routes.kinds]
        return tuple(one for one in possible if one in wanted) if wanted else possible

    def conditions(self) -> ListenerConditions:
        name, count = self.listener.name, len(self.routes)
        return ListenerConditions(name, self.kinds, count, tuple(self._conditions()))

    def _conditions(self) -> Iterator[Condition]:
        yield judged("Accepted", self.accepted or self.conflict)
        if self.conflict is None:
            yield Condition("Conflicted", "False", "NoConflicts")
        else:
            yield Condition("Conflicted", "True", self.conflict.reason, self.conflict.message)
        if self.is_programmed:
            yield good("Programmed")
        else:
            fault = self.accepted or self.conflict or self.references
            reason = self.conflict.reason if self.conflict is not None else "Invalid"
            yield bad("Programmed", Fault(reason, fault.message if fault else ""))
        yield judged("ResolvedRefs", self.references)
        if self.overlap is not None:
            yield self.overlap


def states(owner: Gateway | ListenerSet) -> list[State]:
    """The listeners, each judged by itself."""
    found = [State(owner, listener) for listener in owner.spec.listeners]
    for state in found:
        state.accepted = _protocol_fault(state)
        state.references = _kinds_fault(state)
    return found


def _protocol_fault(state: State) -> Fault | None:
    protocol = state.listener.protocol
    if protocol not in _FAMILY:
        known = ", ".join(_FAMILY)
        message = f"the protocol {protocol} is not supported; these are: {known}"
        return Fault("UnsupportedProtocol", message)
    if protocol == "HTTPS" and state.listener.tls is None:
        return Fault("Invalid", "a listener of protocol HTTPS needs tls")
    if selecting := state.listener.allowed_routes.namespaces.fault:
        return Fault("Invalid", f"allowedRoutes.namespaces: {selecting}")
    return None


def _kinds_fault(state: State) -> Fault | None:
    possible = KINDS.get((state.listener.protocol, state.mode), ())
    wrong = [
        one.kind
        for one in state.listener.allowed_routes.kinds
        if (one.group, one.kind) not in possible
    ]
    if not wrong:
        return None
    protocol = state.listener.protocol
    message = f"{', '.join(wrong)} can not be attached to a listener of protocol {protocol}"
    return Fault("InvalidRouteKinds", message)


# --------------------------------------------------------------------------- conflicts


def judge_conflicts(found: Iterable[State]) -> None:
    """In the order of precedence: what an earlier owner has stays. Of two of one owner's that can't
    be together none is the winner (Gateway API)."""
    by_port = sorted(found, key=_port)
    for _, group in groupby(by_port, key=_port):
        taken: list[State] = []
        for _, own in groupby(group, key=_owner):
            states = [state for state in own if state.accepted is None]
            for state in states:
                others = (*taken, *(one for one in states if one is not state))
                state.conflict = _conflict(state, others)
            taken += [state for state in states if state.is_valid]


def _port(state: State) -> int:
    return state.listener.port


def _owner(state: State) -> tuple[str, str, str]:
    return state.owner.kind(), state.owner.namespace, state.owner.name


def _conflict(state: State, others: Iterable[State]) -> Fault | None:
    own, hostname = state.listener, None
    for other in (one.listener for one in others):
        if _FAMILY[other.protocol] != _FAMILY[own.protocol]:
            message = f"the port {own.port} also is to carry {other.protocol} ({other.name})"
            return Fault("ProtocolConflict", message)
        if hostname is None and (own.protocol == "TCP" or other.hostname == own.hostname):
            message = f"{other.name} also is to have this host name on port {own.port}"
            hostname = Fault("HostnameConflict", message)
    return hostname


# --------------------------------------------------------------------------- namespaces


class NamespaceLabels:
    """Labels of namespaces; each has its name, which Kubernetes gives it."""

    __slots__ = ("_labels",)

    def __init__(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        self._labels = labels

    def allows(self, rule: Namespaces, own: str, namespace: str) -> bool:
        """May something of `namespace` be attached to what stands in `own`?"""
        if rule.source == "All":
            return True
        if rule.source == "Selector":
            labels = {"kubernetes.io/metadata.name": namespace, **self._labels.get(namespace, {})}
            return rule.selector is not None and rule.selector.takes(labels)
        return rule.source == "Same" and namespace == own
