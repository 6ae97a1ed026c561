"""HTTPRoutes and GRPCRoutes with a Service as parent: rules for the mesh's clients (GAMMA).

One in the Service's own namespace is for every client, one of another namespace for clients of
that namespace. Where a port has rules, a request that none takes gets 404; ports without rules
stay as they are. A VirtualService for the same host is in force alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from controlplane.kinds.gateway_api.references import ParentReference
from controlplane.mesh.conditions import ObjectConditions, Parent, ParentConditions
from controlplane.mesh.model import Destination, DirectResponse, HttpRule, RouteMatch, Service
from controlplane.translate.gateways.backends import Backends
from controlplane.translate.gateways.http_rules import Entrance, HttpRules
from controlplane.translate.gateways.precedence import in_order
from controlplane.translate.gateways.servers import HttpRouteOrGrpc
from controlplane.translate.gateways.words import Fault, judged
from controlplane.translate.index import DOMAIN
from controlplane.translate.report import Report

_HTTP = ("HTTP", "HTTP2", "GRPC")

Scope = tuple[str, int]
"""The namespace of clients ('' for all) and the port for which rules are."""


@dataclass(slots=True)
class _Wanted:
    """The rules that routes want for one service."""

    service: Service
    rules: defaultdict[Scope, list[tuple[HttpRouteOrGrpc, HttpRule]]] = field(
        default_factory=lambda: defaultdict(list)
    )


class MeshRoutes:
    def __init__(
        self,
        routes: Iterable[HttpRouteOrGrpc],
        services: tuple[Service, ...],
        backends: Backends,
        report: Report,
    ) -> None:
        self._by_name = {one.hostname: one for one in services}
        self._rules = HttpRules(backends)
        self._report = report
        self._wanted: dict[str, _Wanted] = {}
        self.conditions = tuple(
            told for route in routes if (told := self._place(route)) is not None
        )
        self.services = tuple(
            replace(one, rules=tuple(_joined(self._wanted[one.hostname])))
            if one.hostname in self._wanted
            else one
            for one in services
        )

    def _place(self, route: HttpRouteOrGrpc) -> ObjectConditions | None:
        """What is to be said about its parents that are services."""
        told = []
        for parent in route.spec.parent_refs:
            if parent.kind == "Service" and parent.group in ("", "core"):
                fault, unresolved = self._attach(route, parent)
                conditions = (judged("Accepted", fault), judged("ResolvedRefs", unresolved))
                told.append(ParentConditions(_named(parent), conditions))
                for one in (fault, unresolved):
                    if one is not None:
                        self._report.error(route, parent.position, one.reason, one.message)
        if not told:
            return None
        return ObjectConditions(route.kind(), route.namespace, route.name, parents=tuple(told))

    def _attach(
        self, route: HttpRouteOrGrpc, parent: ParentReference
    ) -> tuple[Fault | None, Fault | None]:
        """(why it is not accepted, what is not resolved)."""
        namespace = parent.namespace or route.namespace
        service = self._by_name.get(f"{parent.name}.{namespace}.svc.{DOMAIN}")
        made = self._rules.of(route, Entrance(parent.port or 80, "http"))
        if service is None:
            message = f"there is no Service {namespace}/{parent.name}"
            return Fault("NoMatchingParent", message), made.unresolved
        ports = [
            port.number
            for port in service.ports
            if port.protocol in _HTTP
            and parent.port in (None, port.number)
            and parent.section_name in ("", port.name)
        ]
        if not ports:
            message = f"{service.hostname} has no such port that speaks HTTP"
            return Fault("NoMatchingParent", message), made.unresolved
        if service.rules:
            message = f"a VirtualService routes {service.hostname} and is in force alone"
            return Fault("NotAllowedByListeners", message), made.unresolved
        wanted = self._wanted.setdefault(service.hostname, _Wanted(service))
        clients = "" if route.namespace == namespace else route.namespace
        for port in ports:
            rules = self._rules.of(route, Entrance(port, "http")).rules
            wanted.rules[clients, port].extend((route, rule) for rule in rules)
        broken = made.unsupported is not None and made.broken == len(route.spec.rules)
        return made.unsupported if broken else None, made.unresolved


def _named(parent: ParentReference) -> Parent:
    return Parent(
        parent.group,
        parent.kind,
        parent.namespace,
        parent.name,
        parent.section_name,
        parent.port,
    )


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
