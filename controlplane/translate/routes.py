"""VirtualServices -> the HTTP rules of services.

The rules of a VirtualService go to every service that its hosts name; the most specific host wins,
and of several for the same host the oldest VirtualService, as in Istio. With exportTo '.' the
rules hold only for clients in the VirtualService's own namespace. A service that nothing names
gets no rules: emit then makes the default route.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.model import Destination, DirectResponse, HttpRule, RouteMatch, Service
from controlplane.translate.http_matches import takes_everything
from controlplane.translate.index import Hosts, age
from controlplane.translate.memo import Each
from controlplane.translate.report import Report
from controlplane.translate.rules import RuleMaker

MESH = "mesh"
"""Istio's word for all sidecars, among `gateways`."""
_HTTP = ("HTTP", "HTTP2", "GRPC")


class _Claim(NamedTuple):
    """A VirtualService names a service, with which of its hosts."""

    specificity: int
    virtual_service: VirtualService
    host_index: int


class _Routed(NamedTuple):
    """What one VirtualService comes to: its rules, and the services it names."""

    rules: tuple[HttpRule, ...] = ()
    claims: tuple[tuple[str, _Claim], ...] = ()


def apply(
    each: Each,
    services: tuple[Service, ...],
    virtual_services: Iterable[VirtualService],
    hosts: Hosts,
    report: Report,
) -> tuple[Service, ...]:
    """The services with their rules. `hosts` knows them with their subsets."""
    make = partial(_routed, hosts, report)
    rules: dict[ObjectKey, tuple[HttpRule, ...]] = {}
    claims: dict[str, list[_Claim]] = defaultdict(list)
    for item in sorted(virtual_services, key=age):
        routed = each(item.key, make, item)
        rules[item.key] = routed.rules
        for hostname, claim in routed.claims:
            claims[hostname].append(claim)
    join = partial(_with_rules, report)
    return tuple(
        each(service.hostname, join, service, *((c, rules[c.virtual_service.key]) for c in found))
        if (found := claims.get(service.hostname))
        else service
        for service in services
    )


def _routed(hosts: Hosts, report: Report, item: VirtualService) -> _Routed:
    if not _concerns_mesh(item, report):
        return _Routed()
    rules = RuleMaker(hosts, report).rules(item)
    return _Routed(rules, tuple(_claims(item, hosts, report)))


def _with_rules(
    report: Report, service: Service, *found: tuple[_Claim, tuple[HttpRule, ...]]
) -> Service:
    claims = [claim for claim, _ in found]
    rules = {claim.virtual_service.key: of for claim, of in found}
    return replace(service, rules=_joined(service, claims, rules, report))


def _concerns_mesh(item: VirtualService, report: Report) -> bool:
    gateways = item.spec.gateways
    concerns = not gateways or MESH in gateways
    for index, gateway in enumerate(gateways):
        if gateway == MESH:
            continue
        message = f"spec.gateways[{index}]: the gateway {gateway!r} is not supported yet"
        position = item.spec.at(f"gateways[{index}]")
        if concerns:
            report.warning(item, position, "NotSupported", f"{message}; 'mesh' is in force")
        else:
            report.error(item, position, "NotSupported", f"{message}; only 'mesh' is")
    return concerns


def _claims(item: VirtualService, hosts: Hosts, report: Report) -> Iterator[tuple[str, _Claim]]:
    for index, host in enumerate(item.spec.hosts):
        hostname = hosts.full_name(host, item.namespace)
        position = item.spec.at(f"hosts[{index}]")
        found = hosts.matching(hostname)
        if not found:
            message = f"spec.hosts[{index}]: no service named {hostname!r}; its rules do nothing"
            report.warning(item, position, "SelectsNothing", message)
        wildcard = hostname.startswith("*")
        for service in found:
            if any(port.protocol in _HTTP for port in service.ports):
                specificity = len(hostname) if wildcard else 1000
                yield service.hostname, _Claim(specificity, item, index)
            elif not wildcard:
                message = f"spec.hosts[{index}]: {hostname!r} has no HTTP port for these rules"
                report.warning(item, position, "SelectsNothing", message)


def _joined(
    service: Service,
    claims: list[_Claim],
    rules: Mapping[ObjectKey, tuple[HttpRule, ...]],
    report: Report,
) -> tuple[HttpRule, ...]:
    """The rules for clients of single namespaces first, then those for everybody."""
    scopes: dict[str, list[_Claim]] = defaultdict(list)
    for claim in claims:
        scopes[_scope(claim.virtual_service)].append(claim)
    chosen = {scope: _first(found, report) for scope, found in scopes.items()}
    joined: list[HttpRule] = []
    for scope in sorted(chosen.keys() - {""}):
        joined += _only_for(scope, rules[chosen[scope].key])
    if "" in chosen:
        return (*joined, *rules[chosen[""].key])
    default = HttpRule((RouteMatch(),), (Destination(service.hostname),))
    return (*joined, default)


def _scope(item: VirtualService) -> str:
    """The namespace to which exportTo restricts it, or '' for everybody."""
    exported = item.spec.export_to
    return item.namespace if exported and "*" not in exported else ""


def _first(claims: list[_Claim], report: Report) -> VirtualService:
    """The most specific, then the oldest; one that another of the same host hides is told."""
    best = max(claims, key=lambda claim: claim.specificity)
    for claim in claims:
        item = claim.virtual_service
        hidden = claim.specificity == best.specificity and item is not best.virtual_service
        if hidden:
            first = best.virtual_service
            host = f"spec.hosts[{claim.host_index}]: {item.spec.hosts[claim.host_index]!r}"
            message = f"{host} is already routed by {first.key} at {first.position}"
            report.warning(item, item.spec.at(f"hosts[{claim.host_index}]"), "Conflict", message)
    return best.virtual_service


def _only_for(namespace: str, rules: tuple[HttpRule, ...]) -> Iterator[HttpRule]:
    """The rules restricted to clients of `namespace`, who get 404 where none of them matches."""
    for rule in rules:
        matches = tuple(
            replace(match, source_namespace=namespace)
            for match in rule.matches
            if match.source_namespace in ("", namespace)
        )
        if matches:
            yield replace(rule, matches=matches)
    if not any(takes_everything(rule.matches) for rule in rules):
        rest = RouteMatch(source_namespace=namespace)
        yield HttpRule((rest,), direct_response=DirectResponse(404))
