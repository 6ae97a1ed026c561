"""The whole translation, in its order. Pure: the same snapshot gives the same mesh, sorted.

    kinds ─ services (names, ports) ─ policies ─ rules ─ gateways ─┐
          └ endpoints, found with workloads and lists ─────────────┴ joined: the mesh's services
                                              └ workloads ─ security

What was translated before is given back as it was (`memo`): a change costs what it concerns.
"""

from __future__ import annotations

from typing import NamedTuple

from controlplane.inventory import Snapshot
from controlplane.kinds import core
from controlplane.kinds.apps import Deployment
from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.cluster_node import Node
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.envoy_filter import EnvoyFilter
from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.kinds.gateway import Gateway as IstioGateway
from controlplane.kinds.gateway_api.gateway import Gateway
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.kinds.peer_authentication import PeerAuthentication
from controlplane.kinds.pod import Pod
from controlplane.kinds.request_authentication import RequestAuthentication
from controlplane.kinds.secrets import Secret
from controlplane.kinds.service_entry import ServiceEntry, WorkloadEntry
from controlplane.kinds.sidecar import Sidecar
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.imports import Import
from controlplane.mesh.interception import Interception
from controlplane.mesh.interception import Sidecar as MeshSidecar
from controlplane.mesh.model import Mesh, Service, Status
from controlplane.mesh.networks import Networks
from controlplane.mesh.patches import EnvoyPatch
from controlplane.mesh.policy import Security
from controlplane.mesh.published import Published
from controlplane.mesh.telemetry import ScopedLogs
from controlplane.mesh.tls_limits import TlsLimits
from controlplane.mesh.tracing import ScopedTraces
from controlplane.translate import (
    discovery,
    federation,
    imports,
    interception,
    log_services,
    mesh_defaults,
    metrics,
    networks,
    patches,
    policies,
    published,
    routes,
    security,
    services,
    telemetry,
    tls_conflicts,
    tracing,
    workloads,
)
from controlplane.translate.ages import Ages
from controlplane.translate.credentials import Credentials, Readings, names_in
from controlplane.translate.delegates import Delegates
from controlplane.translate.gateways import whole as gateways
from controlplane.translate.gateways.route_rules import RouteRules
from controlplane.translate.index import Hosts, Listed, Workloads
from controlplane.translate.memo import Memo
from controlplane.translate.peers import PeerModes
from controlplane.translate.pods.residents import Residents, Where
from controlplane.translate.pods.residents import places as where_nodes_are
from controlplane.translate.pods.serving import Serving, placed
from controlplane.translate.pods.table import PodTable, tell_unstarted
from controlplane.translate.pods.workloads import PodWorkloads
from controlplane.translate.report import Report
from controlplane.translate.scopes import Population
from controlplane.translate.sidecars import Sidecars
from controlplane.translate.telemetry_levels import KINDS as TELLING


def build(
    snapshot: Snapshot, trust_domain: str, memo: Memo | None = None
) -> tuple[Mesh, tuple[Status, ...]]:
    """The mesh, and everything there is to say: the sources' statuses and translation's, sorted.
    memo: of earlier builds, with the same trust domain."""
    memo = memo or Memo()
    report = memo.begin()
    mesh = _mesh(discovery.heeded(snapshot, memo, report), trust_domain, memo, report)
    return mesh, memo.statuses(snapshot.statuses)


def _mesh(snapshot: Snapshot, trust_domain: str, memo: Memo, report: Report) -> Mesh:
    of = snapshot.of
    entries = of(WorkloadEntry)
    virtual_services = memo.grown("rules by age", Ages.following, of(VirtualService)).oldest_first
    modes = memo.index("modes", PeerModes, of(PeerAuthentication), report)
    sidecars = memo.index("sidecars", Sidecars, trust_domain, modes, report)
    selectable = memo.index("workloads", Workloads, entries)
    listed = memo.grown("listed", Listed.following, of(core.Endpoints), of(core.EndpointSlice))
    read = memo.once("readings", Readings)
    credentials = memo.index("credentials", Credentials, of(Secret), read)

    defaults = memo.once("defaults", mesh_defaults.of, of(MeshConfigMap))
    named = memo.stage(
        "named", services.named, of(core.Service), of(ServiceEntry), defaults.services, report
    )
    pods, joining, residents = _residents(snapshot, modes, trust_domain, memo, report)
    reachable = selectable, residents
    places = memo.stage(
        "places", services.reached, named, reachable, listed, sidecars, joining, report
    )
    by_lists = memo.once("by lists", placed, named, listed)
    serving = memo.once("serving", Serving, named, by_lists)
    in_pods = memo.grown("in pods", PodWorkloads.of, residents, serving)
    plain = memo.once("plain", services.alone, named)
    hosts = memo.index("hosts", Hosts, plain)
    ruled = _ruled(snapshot, virtual_services, plain, hosts, (credentials, defaults), memo, report)
    attached = memo.grown("attached", services.attached, places)
    beside = memo.stage("beside", workloads.build, entries, attached, sidecars, joining, report)
    edge = memo.once("edge", gateways.pods, of(IstioGateway), defaults.ingress, pods)
    proxies = memo.once(
        "proxies", gateways.proxies, of(IstioGateway), defaults.ingress, beside, edge
    )
    lookups = (ruled.subsets, ruled.delegates, credentials, defaults)
    edging = snapshot.only(*gateways.KINDS), memo.once("bound", gateways.bound, virtual_services)
    made = memo.once("rules of routes", RouteRules)
    facts = (*edging, ruled.services, proxies, lookups, made)
    edges = memo.once("gateways", gateways.build, *facts, report)
    every = memo.stage("joined", services.joined, edges.services, places, joining)
    deciding = memo.once("with tls", tls_conflicts.deciding, of(DestinationRule))
    memo.once("tls", tls_conflicts.tell, deciding, every, beside, modes, report)
    there = pods.population, of(Deployment), of(Gateway)
    lookups_of_policies = hosts, memo.index("population", Population, beside, *there)
    decided = _decided(snapshot, trust_domain, plain, lookups_of_policies, memo, report)
    foreign = _foreign(snapshot, trust_domain, decided, memo, report)
    asked_for = (
        *memo.once("asked for", _names_in, ruled.with_policies),
        *gateways.names_in(edges.gateways),
    )
    used = memo.once("used", Credentials.named, credentials, asked_for, report)
    settings = _settings(snapshot, ruled.subsets, defaults.tls, plain, memo, report)
    of_edges = (edges.gateways, edges.conditions)
    return Mesh(
        *(trust_domain, every, beside, decided, foreign, used, *of_edges, *settings),
        pods=in_pods,
        published=ruled.published,
        rule_filters=edges.rule_filters,
        metrics=memo.once("metrics", metrics.build, snapshot.only(*TELLING), report),
        traces=_traces(snapshot, plain, memo, report),
    )


def _traces(
    snapshot: Snapshot, plain: tuple[Service, ...], memo: Memo, report: Report
) -> tuple[ScopedTraces, ...]:
    configs = snapshot.of(MeshConfigMap)
    known = memo.once("collectors", tracing.collectors, configs, plain)
    return memo.once("traces", tracing.build, snapshot.only(*TELLING), known, report)


def _names_in(services: tuple[Service, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(names_in(services))


def _residents(
    snapshot: Snapshot, modes: PeerModes, trust_domain: str, memo: Memo, report: Report
) -> tuple[PodTable, Networks, Residents]:
    """The pods, the networks in which things are, and who is at an address."""
    of = snapshot.of
    system = of(MeshConfigMap), of(core.Service), of(core.Namespace), of(Gateway)
    joining = memo.once("networks", networks.build, *system, report)
    pods = memo.grown("pods", PodTable.of, of(Pod))
    memo.once("unstarted pods", tell_unstarted, pods.unstarted, report)
    nodes = memo.once("nodes", where_nodes_are, of(Node))
    where = memo.once("where", Where, nodes, joining)
    return pods, joining, memo.index("residents", Residents, pods, where, modes, trust_domain)


class _Ruled(NamedTuple):
    """Services with their rules, and what was found on the way."""

    with_policies: tuple[Service, ...]
    subsets: Hosts
    delegates: Delegates
    services: tuple[Service, ...]
    published: tuple[Published, ...]


def _ruled(
    snapshot: Snapshot,
    rules: tuple[VirtualService, ...],
    plain: tuple[Service, ...],
    hosts: Hosts,
    lookups: tuple[Credentials, mesh_defaults.Defaults],
    memo: Memo,
    report: Report,
) -> _Ruled:
    of, (credentials, defaults) = snapshot.of, lookups
    by_age = memo.grown("destination rules by age", Ages.following, of(DestinationRule))
    made = by_age.oldest_first, hosts, credentials, defaults, report
    with_policies = memo.stage("policies", policies.apply, plain, *made)
    subsets = memo.index("subsets", Hosts, with_policies)
    delegates = memo.index("delegates", Delegates, of(VirtualService))
    exports = defaults.virtual_services
    found = (subsets, delegates)
    with_rules = memo.stage(
        "routes", routes.apply, with_policies, rules, subsets, delegates, exports, report
    )
    shown = memo.stage("published", published.build, rules, of(Sidecar), found, exports, report)
    return _Ruled(with_policies, subsets, delegates, with_rules, shown)


def _decided(
    snapshot: Snapshot,
    trust_domain: str,
    plain: tuple[Service, ...],
    lookups: tuple[Hosts, Population],
    memo: Memo,
    report: Report,
) -> Security:
    of = snapshot.of
    configs = of(MeshConfigMap)
    asked = memo.once("asked", security.asked, configs, plain)
    access = memo.grown("access by age", Ages.following, of(AuthorizationPolicy))
    tokens = memo.grown("tokens by age", Ages.following, of(RequestAuthentication))
    ordered = access.oldest_first, tokens.oldest_first
    return memo.stage(
        "security", security.build, configs, ordered, trust_domain, asked, lookups, report
    )


def _foreign(
    snapshot: Snapshot, trust_domain: str, decided: Security, memo: Memo, report: Report
) -> tuple[ForeignDomain, ...]:
    own = (trust_domain, *decided.trust_domain_aliases)
    domains = snapshot.of(ClusterFederatedTrustDomain)
    settings = snapshot.of(MeshConfigMap)
    return memo.once("federation", federation.build, domains, settings, own, report)


class _Settings(NamedTuple):
    """What holds for some proxies: fields of Mesh, in their order."""

    imports: tuple[Import, ...]
    patches: tuple[EnvoyPatch, ...]
    interception: Interception
    sidecars: tuple[MeshSidecar, ...]
    logs: tuple[ScopedLogs, ...]


def _settings(
    snapshot: Snapshot,
    subsets: Hosts,
    limits: TlsLimits,
    plain: tuple[Service, ...],
    memo: Memo,
    report: Report,
) -> _Settings:
    of = snapshot.of
    told = memo.once("log services", log_services.providers, of(MeshConfigMap), plain, report)
    return _Settings(
        memo.once("imports", imports.build, of(Sidecar), report),
        memo.once("patches", patches.build, of(EnvoyFilter), of(MeshConfigMap), report),
        memo.once("interception", interception.of_mesh, of(MeshConfigMap)),
        memo.once("sidecar scopes", interception.of_sidecars, of(Sidecar), subsets, limits, report),
        memo.once("telemetry", telemetry.build, snapshot.only(*TELLING), told, report),
    )
