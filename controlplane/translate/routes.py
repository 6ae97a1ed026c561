"""VirtualServices -> the HTTP rules of services.

The rules of a VirtualService go to every service that its hosts name; the most specific host wins,
and of several for the same host the oldest VirtualService, as in Istio. With exportTo the
rules hold only for clients in the namespaces that it names. A service that nothing names
gets no rules: emit then makes the default route.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from controlplane.kinds.export_to import namespaces_of
from controlplane.kinds.http_match import MESH
from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.model import (
    Destination,
    DirectResponse,
    HttpRule,
    RouteMatch,
    Service,
    StreamMatch,
    StreamRule,
)
from controlplane.translate import stream_rules
from controlplane.translate.delegates import Delegates
from controlplane.translate.destinations import Destinations
from controlplane.translate.groups import Groups
from controlplane.translate.http_matches import takes_everything
from controlplane.translate.index import Hosts, hostname_of, key_of
from controlplane.translate.memo import Each
from controlplane.translate.report import Report
from controlplane.translate.rules import RuleMaker
from protos.frozen import replace

HTTP = ("HTTP", "HTTP2", "GRPC")


class _Claim(NamedTuple):
    """A VirtualService names a service, with which of its hosts, for clients of which
    namespaces."""

    hostname: str
    specificity: int
    virtual_service: VirtualService
    host_index: int
    scopes: tuple[str, ...]


class _Routed(NamedTuple):
    """What one VirtualService comes to: its rules, and the services it names."""

    rules: tuple[HttpRule, ...] = ()
    stream_rules: tuple[StreamRule, ...] = ()
    claims: tuple[_Claim, ...] = ()


def apply(
    each: Each,
    services: tuple[Service, ...],
    virtual_services: tuple[VirtualService, ...],
    hosts: Hosts,
    delegates: Delegates,
    exports: tuple[str, ...],
    report: Report,
) -> tuple[Service, ...]:
    """The services with their rules. virtual_services: the oldest first. `hosts` knows the services
    with their subsets. exports: to whom a VirtualService is shown that doesn't say it."""
    make = partial(_routed, hosts, delegates, report)
    routed = each("rules", key_of, make, (virtual_services,), (exports,))
    claims = each.grown("by host", _by_host, routed)
    found = [claims.of(service.hostname) for service in services]
    return each("services", hostname_of, _with_rules, (services, found), (report,))


def _by_host(last: Groups[str, _Routed] | None, made: tuple[_Routed, ...]) -> Groups[str, _Routed]:
    return (last or Groups()).following(made, lambda one: [claim.hostname for claim in one.claims])


def _routed(
    hosts: Hosts,
    delegates: Delegates,
    report: Report,
    item: VirtualService,
    exports: tuple[str, ...],
) -> _Routed:
    if item.spec.is_delegate or not concerns_mesh(item):
        return _Routed()
    rules = RuleMaker(hosts, report, delegates).rules(item)
    streams = stream_rules.rules(item, Destinations(hosts, report), report)
    return _Routed(rules, streams, tuple(_claims(item, hosts, exports, report)))


def _with_rules(service: Service, found: tuple[_Routed, ...], report: Report) -> Service:
    if not found:
        return service
    every = ((claim, routed) for routed in found for claim in routed.claims)
    of = [(claim, routed) for claim, routed in every if claim.hostname == service.hostname]
    claims = [claim for claim, _ in of]
    pairs = [(claim.virtual_service.key, routed) for claim, routed in of]
    http = {key: routed.rules for key, routed in pairs if routed.rules}
    streams = {key: routed.stream_rules for key, routed in pairs if routed.stream_rules}
    rules: tuple[HttpRule, ...] = ()
    stream: tuple[StreamRule, ...] = ()
    if _has_port(service, HTTP):
        rules = _joined(service, [c for c in claims if c.virtual_service.key in http], http, report)
    if _has_port(service, HTTP, other=True):
        chosen = [c for c in claims if c.virtual_service.key in streams]
        stream = _joined_streams(service, chosen, streams, report)
    return replace(service, rules=rules, stream_rules=stream)


def _has_port(service: Service, protocols: tuple[str, ...], other: bool = False) -> bool:
    """Whether one of its ports speaks one of `protocols` (or, with `other`, none of them)."""
    return any((port.protocol in protocols) != other for port in service.ports)


def concerns_mesh(item: VirtualService) -> bool:
    return not item.spec.gateways or MESH in item.spec.gateways


def _claims(
    item: VirtualService, hosts: Hosts, exports: tuple[str, ...], report: Report
) -> Iterator[_Claim]:
    scopes = _scopes(item, exports)
    for index, host in enumerate(item.spec.hosts):
        hostname = hosts.full_name(host, item.namespace)
        position = item.spec.at(f"hosts[{index}]")
        found = hosts.matching(hostname)
        if not found:
            message = (
                f"spec.hosts[{index}]: no service named {hostname!r}; its rules do nothing, but "
                "that sidecars which intercept connections know the host at port 80"
            )
            report.warning(item, position, "SelectsNothing", message)
        wildcard = hostname.startswith("*")
        for service in found:
            for_http = bool(item.spec.http) and _has_port(service, HTTP)
            if for_http or (_streams(item) and _has_port(service, HTTP, other=True)):
                specificity = len(hostname) if wildcard else 1000
                yield _Claim(service.hostname, specificity, item, index, scopes)
            elif not wildcard:
                kind = "HTTP" if item.spec.http else "TCP or TLS"
                message = f"spec.hosts[{index}]: {hostname!r} has no {kind} port for these rules"
                report.warning(item, position, "SelectsNothing", message)


def _streams(item: VirtualService) -> bool:
    return bool(item.spec.tcp or item.spec.tls)


def _joined(
    service: Service,
    claims: list[_Claim],
    rules: Mapping[ObjectKey, tuple[HttpRule, ...]],
    report: Report,
) -> tuple[HttpRule, ...]:
    """The rules for clients of single namespaces first, then those for everybody."""
    if not claims:
        return ()
    chosen = _chosen(claims, report)
    joined: list[HttpRule] = []
    for scope in sorted(chosen.keys() - {""}):
        joined += _only_for(scope, rules[chosen[scope].key])
    if "" in chosen:
        return (*joined, *rules[chosen[""].key])
    place = Destination(service.hostname, hash=service.policy.hash)
    return (*joined, HttpRule((RouteMatch(),), (place,)))


def _joined_streams(
    service: Service,
    claims: list[_Claim],
    rules: Mapping[ObjectKey, tuple[StreamRule, ...]],
    report: Report,
) -> tuple[StreamRule, ...]:
    """The same of connections; what no rule of a namespace takes goes to the service itself."""
    chosen = _chosen(claims, report)
    joined: list[StreamRule] = []
    for scope in sorted(chosen.keys() - {""}):
        for rule in rules[chosen[scope].key]:
            matches = tuple(
                replace(match, source_namespace=scope)
                for match in rule.matches
                if match.source_namespace in ("", scope)
            )
            if matches:
                joined.append(replace(rule, matches=matches))
        rest = StreamMatch(source_namespace=scope)
        joined.append(StreamRule((rest,), (Destination(service.hostname),)))
    return (*joined, *(rules[chosen[""].key] if "" in chosen else ()))


def _chosen(claims: list[_Claim], report: Report) -> dict[str, VirtualService]:
    """Namespace of clients ('' for all that have none of their own) -> whose rules hold. Istio: a
    namespace's own VirtualService comes before one that is exported to it, then age decides."""
    scopes: dict[str, list[_Claim]] = defaultdict(list)
    for claim in claims:
        for scope in claim.scopes:
            scopes[scope].append(claim)
    return {
        scope: _first(sorted(found, key=lambda c: c.virtual_service.namespace != scope), report)
        if scope
        else _first(found, report)
        for scope, found in scopes.items()
    }


def _scopes(item: VirtualService, exports: tuple[str, ...]) -> tuple[str, ...]:
    """The namespaces to which exportTo restricts it, or ('',) for everybody."""
    exported = namespaces_of(item.spec.export_to or exports, item.namespace)
    return ("",) if exported is None else exported


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
