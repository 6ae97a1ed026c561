"""Gateway API's Gateways, ListenerSets and routes -> gateways of the neutral mesh, and what is to
be said about each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from controlplane.inventory import Snapshot
from controlplane.kinds import core
from controlplane.kinds.gateway_api.gateway import Gateway, GatewayClass, ListenerSet
from controlplane.kinds.gateway_api.grpc_route import GRPCRoute
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.kinds.gateway_api.l4_routes import (
    OldTCPRoute,
    OldTLSRoute,
    OldUDPRoute,
    TCPRoute,
    TLSRoute,
    UDPRoute,
)
from controlplane.kinds.objects import Object
from controlplane.mesh import gateways as model
from controlplane.mesh.conditions import Condition, ObjectConditions, Parent, ParentConditions
from controlplane.mesh.model import Workload
from controlplane.mesh.scopes import GATEWAY_NAME, Scope
from controlplane.translate.gateways.addresses import Addresses
from controlplane.translate.gateways.attach import Attached, Attacher, Attachment, Place
from controlplane.translate.gateways.authorities import Authorities
from controlplane.translate.gateways.backends import Backends
from controlplane.translate.gateways.classes import Classes
from controlplane.translate.gateways.http_rules import Entrance, Made
from controlplane.translate.gateways.listeners import (
    NamespaceLabels,
    State,
    judge_conflicts,
    states,
)
from controlplane.translate.gateways.overlaps import judge_overlaps
from controlplane.translate.gateways.parameters import Parameters
from controlplane.translate.gateways.precedence import seniority
from controlplane.translate.gateways.route_rules import RulesOf
from controlplane.translate.gateways.servers import HttpRouteOrGrpc, Servers
from controlplane.translate.gateways.streams import L4Route, resolve
from controlplane.translate.gateways.summaries import accepted_of, of_clients
from controlplane.translate.gateways.unheeded import tell_gateway, tell_route
from controlplane.translate.gateways.words import Fault, bad, good, judged, partly
from controlplane.translate.index import DOMAIN
from controlplane.translate.report import Report

A = TypeVar("A")
B = TypeVar("B")
_PLAIN = Entrance(80, "http")
_ADDRESS_TYPES = ("IPAddress", "Hostname")


@dataclass(slots=True)
class _Place:
    """A Gateway of ours with the ListenerSets that it has taken. services: hosts to which routes
    at it send requests."""

    gateway: Gateway
    own: list[State]
    sets: dict[str, list[State]] = field(default_factory=dict)
    http: list[tuple[HttpRouteOrGrpc, Attachment]] = field(default_factory=list)
    streams: list[tuple[L4Route, Attachment]] = field(default_factory=list)
    fault: Fault | None = None
    unresolved: Fault | None = None
    shows: model.SecretName | None = None
    scope: Scope | None = None

    servers: tuple[model.Server, ...] = ()

    @property
    def destinations(self) -> frozenset[str]:
        """The services to which routes send what comes in here."""
        https = (route for route, _ in self.http)
        return frozenset(
            f"{ref.name}.{ref.namespace or route.namespace}.svc.{DOMAIN}"
            for route in https
            for rule in route.spec.rules
            for ref in rule.backend_refs
        )

    @property
    def states(self) -> list[State]:
        return [*self.own, *(state for found in self.sets.values() for state in found)]


class GatewayApi:
    """Translates all of a snapshot; `gateways` and `conditions` are what came out."""

    def __init__(
        self,
        snapshot: Snapshot,
        backends: Backends,
        authorities: Authorities,
        proxies: Iterable[Workload],
        rules_of: RulesOf,
        report: Report,
    ) -> None:
        self._snapshot = snapshot
        self._backends = backends
        self._report = report
        self._rules_of = rules_of
        self._proxies = tuple(proxies)
        self._addresses = Addresses(snapshot.of(core.Service), self._proxies)
        self._parameters = Parameters(snapshot.of(core.ConfigMap), report)
        self._classes = Classes(snapshot.of(GatewayClass), self._parameters, report)
        labels = {item.name: item.metadata.labels for item in snapshot.of(core.Namespace)}
        self._namespaces = NamespaceLabels(labels)
        self._services = {(s.namespace, s.name): s for s in snapshot.of(core.Service)}
        self._places = self._gateways(authorities)
        self._refused_sets: dict[str, Fault] = {}
        self._sets = self._listener_sets(authorities)
        for place in self._places.values():
            judge_conflicts(place.states)
            judge_overlaps(place.states, authorities.credentials)
        self._routes = tuple(self._attach())
        for place in self._places.values():
            servers = Servers(place.states, place.http, place.streams, backends, rules_of)
            place.servers = servers.made()

    # ------------------------------------------------------------------ listeners

    def _gateways(self, authorities: Authorities) -> dict[tuple[str, str], _Place]:
        found = {}
        for gateway in self._snapshot.of(Gateway):
            if not self._classes.has(gateway.spec.gateway_class_name):
                continue
            place = _Place(gateway, states(gateway))
            place.fault = _gateway_fault(gateway, self._parameters)
            place.scope = self._scope(gateway)
            place.shows, place.unresolved = authorities.shown(gateway)
            tell_gateway(gateway, place.unresolved, self._report)
            _secure(gateway, place.own, authorities)
            found[gateway.namespace, gateway.name] = place
        return found

    def _scope(self, gateway: Gateway) -> Scope | None:
        """Whose proxies it is for: those with its name as Gateway API's label, or those behind
        the Service that its address names (Istio). None: there is no such Service."""
        for address in gateway.spec.addresses:
            if address.type == "Hostname":
                name, _, namespace = address.value.partition(".")
                namespace = namespace.removesuffix(f".svc.{DOMAIN}") or gateway.namespace
                service = self._services.get((namespace, name))
                if service is None or not service.spec.selector:
                    return None
                return Scope(namespace, service.spec.selector)
        return Scope(gateway.namespace, gateways=(gateway.name,))

    def _listener_sets(self, authorities: Authorities) -> dict[tuple[str, str], list[State]]:
        found: dict[tuple[str, str], list[State]] = {}
        for one in sorted(self._snapshot.of(ListenerSet), key=seniority):
            parent = one.spec.parent_ref
            place = self._places.get((parent.namespace or one.namespace, parent.name))
            if place is None or parent.kind != "Gateway":
                continue
            rule = place.gateway.spec.allowed_listeners.namespaces
            if not self._namespaces.allows(rule, place.gateway.namespace, one.namespace):
                message = f"{place.gateway.key} takes no ListenerSet of {one.namespace!r}"
                self._refused_sets[f"{one.namespace}/{one.name}"] = Fault("NotAllowed", message)
                found[one.namespace, one.name] = []
                continue
            added = states(one)
            _secure(place.gateway, added, authorities)
            place.sets[f"{one.namespace}/{one.name}"] = added
            found[one.namespace, one.name] = added
        return found

    # ------------------------------------------------------------------ routes

    def _attach(self) -> Iterator[ObjectConditions]:
        parents: dict[Place, list[State]] = {
            ("Gateway", *key): place.own for key, place in self._places.items()
        }
        parents |= {("ListenerSet", *key): found for key, found in self._sets.items()}
        defaults = (
            key for key, place in self._places.items() if place.gateway.spec.default_scope == "All"
        )
        attacher = Attacher(parents, self._namespaces, defaults)
        for route in _either(self._snapshot.of(HTTPRoute), self._snapshot.of(GRPCRoute)):
            spec = route.spec
            by_default = spec.use_default_gateways == "All"
            attached = attacher.attach(route, spec.parent_refs, spec.hostnames, by_default)
            self._place_http(route, attached)
            yield from self._told(route, attached, self._rules_of(route, _PLAIN))
        of = self._snapshot.of
        tls = (*of(TLSRoute), *of(OldTLSRoute))
        tcp = (*of(TCPRoute), *of(OldTCPRoute))
        for datagrams in (*of(UDPRoute), *of(OldUDPRoute)):
            attached = attacher.attach(datagrams, datagrams.spec.parent_refs, ())
            yield from self._told(datagrams, attached, Made(()))
        for stream in _either(tls, tcp):
            hosts = stream.spec.hostnames if isinstance(stream, TLSRoute) else ()
            by_default = stream.spec.use_default_gateways == "All"
            attached = attacher.attach(stream, stream.spec.parent_refs, hosts, by_default)
            self._place_stream(stream, attached)
            unresolved = resolve(stream, self._backends).unresolved
            yield from self._told(stream, attached, Made((), unresolved))

    def _place_http(self, route: HttpRouteOrGrpc, attached: Iterable[Attached]) -> None:
        for attachment in _placed(route, attached):
            self._place_of(attachment.state).http.append((route, attachment))

    def _place_stream(self, route: L4Route, attached: Iterable[Attached]) -> None:
        for attachment in _placed(route, attached):
            self._place_of(attachment.state).streams.append((route, attachment))

    def _place_of(self, state: State) -> _Place:
        owner = state.owner
        if isinstance(owner, Gateway):
            return self._places[owner.namespace, owner.name]
        parent = owner.spec.parent_ref
        return self._places[parent.namespace or owner.namespace, parent.name]

    def _told(
        self, route: Object, attached: tuple[Attached, ...], made: Made
    ) -> Iterator[ObjectConditions]:
        if not attached:
            tell_route(route, self._report)
            return
        rest: tuple[Condition, ...] = (judged("ResolvedRefs", made.unresolved),)
        rest += (partly(made.lessened),) if made.lessened is not None else ()
        for one in attached:
            if one.fault is not None:
                reason, message = one.fault.reason, one.fault.message
                self._report.warning(route, route.position, reason, message)
        for fault in (made.unsupported, made.unresolved):
            if fault is not None:
                position = fault.position or route.position
                self._report.error(route, position, fault.reason, fault.message)
        yield ObjectConditions(
            route.kind(),
            route.namespace,
            route.name,
            parents=tuple(
                ParentConditions(
                    one.parent,
                    (judged("Accepted", one.fault or made.refused), *rest),
                    self._controller(route, one.parent),
                )
                for one in attached
            ),
        )

    def _controller(self, route: Object, parent: Parent) -> str:
        """Of the class of a Gateway, or of that whose listeners a ListenerSet adds to."""
        key = parent.namespace or route.namespace, parent.name
        if parent.kind == "ListenerSet":
            key = next(
                (gateway for gateway, place in self._places.items() if "/".join(key) in place.sets),
                key,
            )
        place = self._places.get(key)
        return (
            "" if place is None else self._classes.controller(place.gateway.spec.gateway_class_name)
        )

    # ------------------------------------------------------------------ what came out

    def gateways(self) -> tuple[model.Gateway, ...]:
        return tuple(
            model.Gateway(
                name=f"{place.gateway.name}.{place.gateway.namespace}",
                namespace=place.gateway.namespace,
                scope=place.scope,
                servers=place.servers,
                shows=place.shows,
                position=place.gateway.position,
            )
            for place in self._places.values()
            if place.fault is None and place.scope is not None
        )

    def conditions(self) -> Iterator[ObjectConditions]:
        yield from self._classes.conditions()
        for place in self._places.values():
            yield self._of_gateway(place)
        for one in self._snapshot.of(ListenerSet):
            if (one.namespace, one.name) in self._sets:
                yield self._of_set(one)
        yield from self._routes

    def parents_of(self, hostname: str) -> Iterator[tuple[Parent, str]]:
        """The Gateways at which a route sends requests to a service, and who controls them."""
        for place in self._places.values():
            if hostname in place.destinations:
                gateway = place.gateway
                controller = self._classes.controller(gateway.spec.gateway_class_name)
                yield Parent(*_GATEWAY, gateway.namespace, gateway.name), controller

    def _of_gateway(self, place: _Place) -> ObjectConditions:
        gateway = place.gateway
        self._tell(gateway, place.fault, place.own)
        accepted = accepted_of(place.fault, place.own, "gateway")
        programmed = self._programmed(place, accepted)
        for_all = (good("DefaultGateway"),) if gateway.spec.default_scope == "All" else ()
        resolved = judged("ResolvedRefs", place.unresolved)
        conditions = (accepted, programmed, resolved, *for_all, *of_clients(place.states))
        return ObjectConditions(
            "Gateway",
            gateway.namespace,
            gateway.name,
            conditions,
            tuple(state.conditions() for state in place.own),
            attached_sets=sum(
                any(state.is_valid for state in found) for found in place.sets.values()
            ),
            addresses=self._addresses_of(place) if programmed.status == "True" else (),
        )

    def _addresses_of(self, place: _Place) -> tuple[str, ...]:
        """Those that it asks for, which its proxies have if it is programmed; else all."""
        wanted = (one for one in place.gateway.spec.addresses if one.type == "IPAddress")
        found = tuple(one.value for one in wanted if one.value)
        return found or (self._addresses.of(place.scope) if place.scope is not None else ())

    def _programmed(self, place: _Place, accepted: Condition) -> Condition:
        if accepted.status == "False":
            return bad("Programmed", Fault("Invalid", accepted.message))
        fault = self._address_fault(place)
        if fault is None:
            return good("Programmed")
        position = place.gateway.spec.at("addresses")
        self._report.warning(place.gateway, position, fault.reason, fault.message)
        return bad("Programmed", fault)

    def _address_fault(self, place: _Place) -> Fault | None:
        """An address is where one of the gateway's proxies is, or a Service before them, which
        must have the listeners' ports. Without any there is nowhere to come in."""
        gateway, scope = place.gateway, place.scope
        if scope is None:
            named = ", ".join(one.value for one in gateway.spec.addresses)
            return Fault("AddressNotUsable", f"there is no Service {named} with a selector")
        if scope.gateways is None:
            return self._port_fault(place)
        have = {one.address for one in self._proxies if scope.takes(one.namespace, one.labels)}
        for address in gateway.spec.addresses:
            if address.value and address.value not in have:
                return Fault("AddressNotUsable", f"no proxy of the gateway is at {address.value}")
        if have:
            return None
        message = f"no workload of {gateway.namespace!r} has the label {GATEWAY_NAME}"
        return Fault("AddressNotUsable", f"{message}: {gateway.name}")

    def _port_fault(self, place: _Place) -> Fault | None:
        """Ports are those of the Service that the address names."""
        scope = place.scope
        ports = {
            port.port
            for (namespace, _), service in self._services.items()
            if scope is not None
            and namespace == scope.namespace
            and service.spec.selector == scope.labels
            for port in service.spec.ports
        }
        for state in place.states:
            if (number := state.listener.port) not in ports:
                known = ", ".join(map(str, sorted(ports)))
                message = f"the Service before the gateway has no port {number} (it has {known})"
                return Fault("AddressNotUsable", message)
        return None

    def _of_set(self, one: ListenerSet) -> ObjectConditions:
        found = self._sets[one.namespace, one.name]
        fault = self._refused_sets.get(f"{one.namespace}/{one.name}")
        self._tell(one, fault, found)
        accepted = accepted_of(fault, found, "set")
        programmed = judged("Programmed", fault)
        if fault is None and accepted.status == "False":
            programmed = bad("Programmed", Fault(accepted.reason, accepted.message))
        listeners = tuple(state.conditions() for state in found)
        return ObjectConditions(
            "ListenerSet", one.namespace, one.name, (accepted, programmed), listeners
        )

    def _tell(self, owner: Object, fault: Fault | None, found: Iterable[State]) -> None:
        if fault is not None:
            position = fault.position or owner.position
            self._report.error(owner, position, fault.reason, fault.message)
        for state in found:
            listener = state.listener
            for one in (state.accepted, state.conflict, state.references):
                if one is not None:
                    message = f"the listener {listener.name!r}: {one.message}"
                    self._report.error(owner, listener.position, one.reason, message)


_GATEWAY = ("gateway.networking.k8s.io", "Gateway")


def _either(one: tuple[A, ...], other: tuple[B, ...]) -> tuple[A | B, ...]:
    return (*one, *other)


def _secure(gateway: Gateway, found: Iterable[State], authorities: Authorities) -> None:
    frontend = gateway.spec.tls.frontend
    for state in found:
        port = state.listener.port
        asks = frontend is not None and state.listener.protocol == "HTTPS"
        authorities.secure(state, frontend.of(port) if frontend is not None and asks else None)


def _gateway_fault(gateway: Gateway, parameters: Parameters) -> Fault | None:
    spec = gateway.spec
    if (reference := spec.infrastructure.parameters_ref) is not None:
        position = spec.infrastructure.at("parametersRef")
        fault = parameters.judge(gateway, reference, gateway.namespace, position)
        if fault is not None:
            return fault
    for address in spec.addresses:
        if address.type not in _ADDRESS_TYPES:
            return Fault("UnsupportedAddress", f"no address of type {address.type} can be had")
    return None


def _placed(route: Object, attached: Iterable[Attached]) -> Iterator[Attachment]:
    """Each listener once, however many references name it."""
    seen: dict[int, Attachment] = {}
    for one in attached:
        for attachment in one.places:
            attachment.state.routes.add(route.key)
            if id(attachment.state) not in seen:
                seen[id(attachment.state)] = attachment
    yield from seen.values()
