"""Routes with a Service or a ServiceEntry as parent: rules for the mesh's clients (GAMMA).

One in the Service's own namespace is for every client, one of another namespace for clients of
that namespace. Where a port has rules, a request that none takes gets 404; ports without rules
stay as they are. A VirtualService for the same host is in force alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from controlplane.kinds.gateway_api.grpc_route import GRPCRoute
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.kinds.gateway_api.l4_routes import TLSRoute
from controlplane.kinds.gateway_api.references import ParentReference
from controlplane.kinds.objects import Object
from controlplane.kinds.service_entry import ServiceEntry
from controlplane.mesh.conditions import ObjectConditions, ParentConditions
from controlplane.mesh.model import (
    Destination,
    DirectResponse,
    HttpRule,
    RouteMatch,
    Service,
    ServicePort,
    StreamMatch,
    StreamRule,
)
from controlplane.translate.gateways.attach import parent_of
from controlplane.translate.gateways.backends import Backends
from controlplane.translate.gateways.http_rules import Entrance, Made
from controlplane.translate.gateways.precedence import in_order, seniority
from controlplane.translate.gateways.route_rules import RulesOf
from controlplane.translate.gateways.servers import HttpRouteOrGrpc
from controlplane.translate.gateways.streams import L4Route, resolve
from controlplane.translate.gateways.words import Fault, judged, partly
from controlplane.translate.index import DOMAIN
from controlplane.translate.report import Report

_HTTP = ("HTTP", "HTTP2", "GRPC")
_PARENTS = (("", "Service"), ("core", "Service"), ("networking.istio.io", "ServiceEntry"))

Scope = tuple[str, int]
"""The namespace of clients ('' for all) and the port for which rules are."""


@dataclass(slots=True)
class _Wanted:
    """The rules that routes want for one service."""

    service: Service
    rules: defaultdict[Scope, list[tuple[HttpRouteOrGrpc, HttpRule]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    streams: list[tuple[L4Route, StreamRule]] = field(default_factory=list)

    def made(self) -> Service:
        rules = tuple(_joined(self)) if self.rules else self.service.rules
        ordered = sorted(self.streams, key=lambda one: seniority(one[0]))
        streams = tuple(rule for _, rule in ordered) or self.service.stream_rules
        return replace(self.service, rules=rules, stream_rules=streams)


class MeshRoutes:
    def __init__(
        self,
        routes: Iterable[HttpRouteOrGrpc | L4Route],
        services: tuple[Service, ...],
        entries: Iterable[ServiceEntry],
        backends: Backends,
        rules_of: RulesOf,
        report: Report,
    ) -> None:
        self._by_name = {one.hostname: one for one in services}
        self._entries = {(one.namespace, one.name): one for one in entries}
        self._backends = backends
        self._rules_of = rules_of
        self._report = report
        self._wanted: dict[str, _Wanted] = {}
        self.conditions = tuple(
            told for route in routes if (told := self._place(route)) is not None
        )
        self.services = tuple(
            self._wanted[one.hostname].made() if one.hostname in self._wanted else one
            for one in services
        )

    def _place(self, route: HttpRouteOrGrpc | L4Route) -> ObjectConditions | None:
        """What is to be said about its parents that are services."""
        told = []
        for parent in route.spec.parent_refs:
            if (parent.group, parent.kind) in _PARENTS:
                made = self._made(route, parent)
                fault, lessened = self._attach(route, parent, made.refused), made.lessened
                resolved = judged("ResolvedRefs", made.unresolved)
                rest = (partly(lessened),) if lessened is not None else ()
                conditions = (judged("Accepted", fault), resolved, *rest)
                told.append(ParentConditions(parent_of(parent), conditions))
                for one in (fault, made.unresolved, lessened):
                    if one is not None:
                        position = one.position or parent.position
                        self._report.error(route, position, one.reason, one.message)
        if not told:
            return None
        return ObjectConditions(route.kind(), route.namespace, route.name, parents=tuple(told))

    def _services(self, route: Object, parent: ParentReference) -> tuple[Service, ...]:
        namespace = parent.namespace or route.namespace
        if parent.kind == "Service":
            hosts: tuple[str, ...] = (f"{parent.name}.{namespace}.svc.{DOMAIN}",)
        else:
            entry = self._entries.get((namespace, parent.name))
            hosts = entry.spec.hosts if entry is not None else ()
        return tuple(self._by_name[host] for host in hosts if host in self._by_name)

    def _made(self, route: HttpRouteOrGrpc | L4Route, parent: ParentReference) -> Made:
        if isinstance(route, HTTPRoute | GRPCRoute):
            return self._rules_of(route, Entrance(parent.port or 80, "http"))
        return Made((), resolve(route, self._backends).unresolved)

    def _attach(
        self, route: HttpRouteOrGrpc | L4Route, parent: ParentReference, refused: Fault | None
    ) -> Fault | None:
        """Why it is not accepted; refused: what is wrong with the route itself."""
        http = isinstance(route, HTTPRoute | GRPCRoute)
        services = self._services(route, parent)
        if not services:
            namespace = parent.namespace or route.namespace
            message = f"there is no {parent.kind} {namespace}/{parent.name}"
            return Fault("NoMatchingParent", message)
        for service in services:
            ports = [port.number for port in service.ports if _is_meant(port, parent, http)]
            fault = _fault(service, ports, http)
            if fault is not None:
                return fault
            wanted = self._wanted.setdefault(service.hostname, _Wanted(service))
            self._add(wanted, route, ports)
        return refused

    def _add(self, wanted: _Wanted, route: HttpRouteOrGrpc | L4Route, ports: list[int]) -> None:
        clients = "" if route.namespace == wanted.service.namespace else route.namespace
        for port in ports:
            if isinstance(route, HTTPRoute | GRPCRoute):
                rules = self._rules_of(route, Entrance(port, "http")).rules
                wanted.rules[clients, port].extend((route, rule) for rule in rules)
                continue
            names = route.spec.hostnames if isinstance(route, TLSRoute) else ()
            match = StreamMatch(port, names, source_namespace=clients)
            made = resolve(route, self._backends).route
            wanted.streams.append((route, StreamRule((match,), made.destinations, made.position)))


def _is_meant(port: ServicePort, parent: ParentReference, http: bool) -> bool:
    return (
        (port.protocol in _HTTP) == http
        and port.protocol != "UDP"
        and parent.port in (None, port.number)
        and parent.section_name in ("", port.name)
    )


def _fault(service: Service, ports: list[int], http: bool) -> Fault | None:
    if not ports:
        what = "that speaks HTTP" if http else "of TCP"
        return Fault("NoMatchingParent", f"{service.hostname} has no such port {what}")
    if service.rules if http else service.stream_rules:
        message = f"a VirtualService routes {service.hostname} and is in force alone"
        return Fault("NotAllowedByListeners", message)
    return None


def _joined(wanted: _Wanted) -> Iterator[HttpRule]:
    """Rules for clients of one namespace first, each port's shut by an answer."""
    for clients, port in sorted(wanted.rules, key=lambda scope: (not scope[0], scope)):
        scope = RouteMatch(source_namespace=clients, port=port)
        for rule in in_order(wanted.rules[clients, port]):
            matches = (
                replace(match, source_namespace=clients, port=port) for match in rule.matches
            )
            yield replace(rule, matches=tuple(matches))
        yield HttpRule((scope,), direct_response=DirectResponse(404))
    everything = Destination(wanted.service.hostname)
    yield HttpRule((RouteMatch(),), (everything,), name="default")
