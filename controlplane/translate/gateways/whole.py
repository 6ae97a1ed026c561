"""Gateways of every kind, and what is to be said about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from controlplane.inventory import Snapshot
from controlplane.kinds import core
from controlplane.kinds.gateway import Gateway as IstioGateway
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
from controlplane.kinds.gateway_api.policies import BackendTLSPolicy, ReferenceGrant
from controlplane.kinds.ingress import Ingress, IngressClass
from controlplane.kinds.pod import Pod
from controlplane.kinds.service_entry import ServiceEntry
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.conditions import ObjectConditions, ParentConditions
from controlplane.mesh.gateways import Gateway as NeutralGateway
from controlplane.mesh.gateways import Server, VirtualHost
from controlplane.mesh.model import HttpRule, Retry, Service, Workload
from controlplane.mesh.rule_filters import NO_FILTERS, RuleFilters, filters_of
from controlplane.mesh.scopes import GATEWAY_NAME
from controlplane.mesh.tls_limits import NO_LIMITS, TlsLimits
from controlplane.translate.credentials import Credentials
from controlplane.translate.delegates import Delegates
from controlplane.translate.gateways.addresses import Addresses
from controlplane.translate.gateways.authorities import Authorities
from controlplane.translate.gateways.backend_tls import BackendTls
from controlplane.translate.gateways.backends import Backends
from controlplane.translate.gateways.gateway_api import GatewayApi
from controlplane.translate.gateways.grants import Grants
from controlplane.translate.gateways.ingress import SELECTOR as OF_INGRESSES
from controlplane.translate.gateways.ingress import Ingresses
from controlplane.translate.gateways.istio import IstioGateways
from controlplane.translate.gateways.mesh_routes import MeshRoutes
from controlplane.translate.gateways.route_rules import RouteRules
from controlplane.translate.gateways.servers import HttpRouteOrGrpc
from controlplane.translate.gateways.streams import L4Route
from controlplane.translate.index import Hosts
from controlplane.translate.mesh_defaults import Defaults, IngressSettings
from controlplane.translate.pods.table import PodTable
from controlplane.translate.report import Report
from protos.frozen import frozen

_ASKING = (
    GatewayClass,
    Gateway,
    ListenerSet,
    HTTPRoute,
    GRPCRoute,
    TLSRoute,
    OldTLSRoute,
    TCPRoute,
    OldTCPRoute,
    UDPRoute,
    OldUDPRoute,
    BackendTLSPolicy,
    IstioGateway,
    Ingress,
)
"""Without any of these there is nothing to make."""
KINDS = (
    *_ASKING,
    core.ConfigMap,
    core.Namespace,
    core.Service,
    ReferenceGrant,
    ServiceEntry,
    IngressClass,
)
"""What of a snapshot makes gateways, but for rules."""


@frozen
class Translated:
    """services: with the rules and TLS settings that Gateway API gives them. rule_filters: what
    their rules want."""

    services: tuple[Service, ...]
    gateways: tuple[NeutralGateway, ...] = ()
    conditions: tuple[ObjectConditions, ...] = ()
    rule_filters: RuleFilters = NO_FILTERS


def bound(rules: Iterable[VirtualService]) -> tuple[VirtualService, ...]:
    """Those that are for gateways, too."""
    return tuple(one for one in rules if one.spec.gateways)


def build(
    snapshot: Snapshot,
    rules: tuple[VirtualService, ...],
    services: tuple[Service, ...],
    proxies: tuple[Workload, ...],
    lookups: tuple[Hosts, Delegates, Credentials, Defaults],
    made: RouteRules,
    report: Report,
) -> Translated:
    """rules: for gateways, the oldest first. proxies: workloads that are gateways. lookups: the
    services, with their subsets; what VirtualServices delegate to; Secrets; what holds where rules
    say nothing. made: rules of routes, by builds before."""
    if not rules and not any(map(snapshot.of, _ASKING)):
        return Translated(services)
    hosts, delegates, credentials, defaults = lookups
    grants = Grants(snapshot.of(ReferenceGrant))
    authorities = Authorities(snapshot.of(core.ConfigMap), credentials, grants)
    tls = BackendTls(snapshot.of(BackendTLSPolicy), services, authorities, report)
    backends = Backends(tls.services, grants, tls.shut)
    made.begin()
    api = GatewayApi(snapshot, backends, authorities, proxies, made.by(backends), report)
    of = snapshot.of
    routes: tuple[HttpRouteOrGrpc | L4Route, ...] = (*of(HTTPRoute),)
    routes += (*of(GRPCRoute), *of(TLSRoute), *of(OldTLSRoute), *of(TCPRoute), *of(OldTCPRoute))
    entries = of(ServiceEntry)
    for_mesh = backends.for_mesh()
    in_mesh = MeshRoutes(routes, tls.services, entries, for_mesh, made.by(for_mesh), report)
    istio = IstioGateways(of(IstioGateway), rules, hosts, delegates, credentials, report)
    ingresses = Ingresses(
        of(Ingress), of(IngressClass), services, credentials, defaults.ingress, report
    )
    found = (*istio.made(proxies), *api.gateways(), *ingresses.made())
    told = (*api.conditions(), *in_mesh.conditions, *tls.conditions(api.parents_of))
    told += (*ingresses.conditions(Addresses(of(core.Service), proxies)),)
    edges = _limited(_retrying(found, defaults.retry), defaults.tls)
    wanted = filters_of(rule for one in in_mesh.services for rule in one.rules)
    return Translated(in_mesh.services, edges, _in_order(told), wanted)


def _retrying(
    gateways: tuple[NeutralGateway, ...], default: Retry | None
) -> tuple[NeutralGateway, ...]:
    """Rules that don't speak of retries have these."""
    if default is None:
        return gateways

    def rule(one: HttpRule) -> HttpRule:
        return replace(one, retry=default) if one.retry is None else one

    def host(one: VirtualHost) -> VirtualHost:
        return replace(one, rules=tuple(map(rule, one.rules)))

    def server(one: Server) -> Server:
        return replace(one, virtual_hosts=tuple(map(host, one.virtual_hosts)))

    return tuple(replace(one, servers=tuple(map(server, one.servers))) for one in gateways)


def _limited(gateways: tuple[NeutralGateway, ...], limits: TlsLimits) -> tuple[NeutralGateway, ...]:
    """Servers that don't speak of TLS's versions and ciphers have these."""
    if limits == NO_LIMITS:
        return gateways

    def server(one: Server) -> Server:
        tls = one.tls
        if tls is None or tls.mode in ("ISTIO_MUTUAL", "ISTIO_SIMPLE"):
            return one
        least = tls.minimum or ("TLSV1_3" if limits.only_tls13 and not tls.maximum else "")
        ciphers = tls.ciphers or limits.ciphers
        return replace(one, tls=replace(tls, minimum=least, ciphers=ciphers, curves=limits.curves))

    return tuple(replace(one, servers=tuple(map(server, one.servers))) for one in gateways)


def proxies(
    gateways: tuple[IstioGateway, ...],
    settings: IngressSettings,
    workloads: tuple[Workload, ...],
    pods: tuple[Pod, ...],
) -> tuple[Workload, ...]:
    """The workloads that some Gateway may choose, by the label of Gateway API or a selector."""
    mark = _marked(gateways, settings)
    found = [one for one in workloads if mark(one.labels)]
    return (*found, *(_workload(pod) for pod in pods if pod.addresses))


def pods(
    gateways: tuple[IstioGateway, ...], settings: IngressSettings, table: PodTable
) -> tuple[Pod, ...]:
    """The same of pods."""
    mark = _marked(gateways, settings)
    kins = [kin for kin in table.population if mark(kin[1])]
    return tuple(pod for kin in kins for pod in table.kin_of(*kin))


def _marked(
    gateways: tuple[IstioGateway, ...], settings: IngressSettings
) -> Callable[[Mapping[str, str]], bool]:
    selectors = {frozenset(one.spec.selector.items()) for one in gateways} - {frozenset()}
    selectors.add(frozenset({(OF_INGRESSES, settings.selector)}))

    def mark(labels: Mapping[str, str]) -> bool:
        return GATEWAY_NAME in labels or any(some <= labels.items() for some in selectors)

    return mark


def _workload(pod: Pod) -> Workload:
    account = pod.spec.service_account_name or "default"
    labels, address = pod.metadata.labels, pod.addresses[0]
    return Workload(pod.name, pod.namespace, account, labels, address, pod=True)


def _in_order(told: tuple[ObjectConditions, ...]) -> tuple[ObjectConditions, ...]:
    """Each object once: a route may have gateways and services as parents."""
    found: dict[tuple[str, str, str], ObjectConditions] = {}
    for one in told:
        key = (one.kind, one.namespace, one.name)
        if (first := found.get(key)) is not None:
            parents: tuple[ParentConditions, ...] = (*first.parents, *one.parents)
            one = ObjectConditions(*key, parents=parents)
        found[key] = one
    return tuple(found[key] for key in sorted(found))


def names_in(gateways: tuple[NeutralGateway, ...]) -> Iterator[tuple[str, str]]:
    """The Secrets that gateways' servers name."""
    for gateway in gateways:
        yield from (gateway.shows,) if gateway.shows is not None else ()
        for server in gateway.servers:
            if server.tls is not None:
                yield from server.tls.credentials
                yield from (server.tls.roots,) if server.tls.roots is not None else ()
