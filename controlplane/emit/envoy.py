"""All resources of one node in the envoy dialect, in three parts that change with different things.

part       depends on                                      shared by
shared     services that all clients see alike             every proxy
outbound   other services, rules, credentials; `Client`    every proxy of a namespace (and labels)
sidecar    `Beside`: the node's own workload, policies     one workload's proxies
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from controlplane.emit import (
    clients,
    clusters,
    credentials,
    families,
    gateway,
    jwt,
    listeners,
    on_demand,
    own_cluster,
    patches,
    routes,
    stat_names,
    tracing,
)
from controlplane.emit.access import Guards, jwks_places
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.gateways.places import place_of
from controlplane.emit.gateways.sockets import apart, taken
from controlplane.emit.gateways.whole import gateways
from controlplane.emit.node import Node, seated
from controlplane.emit.sidecars import inbound
from controlplane.emit.sidecars.capture import Capture, capture_of
from controlplane.emit.sidecars.outbound import Outbound
from controlplane.emit.sidecars.ports import clusters as application_clusters
from controlplane.emit.targets import Targets
from controlplane.mesh.interception import Interception
from controlplane.mesh.metering import METERED
from controlplane.mesh.model import Mesh, Service, Workload
from controlplane.mesh.patches import EnvoyPatch
from controlplane.mesh.rule_filters import NO_FILTERS, RuleFilters
from controlplane.mesh.telemetry import Logs
from controlplane.snapshot import Draft
from protos.frozen import frozen

Patches = tuple[EnvoyPatch, ...]


def emit(mesh: Mesh, node: Node) -> Draft:
    node = seated(node, mesh.workload_of(node.namespace, node.pod, node.workload))
    node = meant(mesh.interception, node)
    own = beside(mesh, node)
    alike = patches.of_scope(own.patches, node.intercepts)
    itself = sidecar(own, node)
    return _hidden(shared(mesh, alike) + outbound(mesh, node, alike), itself) + itself


def meant(settings: Interception, node: Node) -> Node:
    """With the HTTP proxy that every sidecar has in the mesh, but for one that says its own."""
    port = settings.http_proxy_port
    if not port or node.http_proxy_port or node.role != "sidecar":
        return node
    return replace(node, http_proxy_port=port)


def _hidden(draft: Draft, by: Draft) -> Draft:
    """Without what a node has of its own in its place."""
    names = {one.name for one in by.clusters}
    return replace(
        draft,
        clusters=tuple(one for one in draft.clusters if one.name not in names),
        endpoints=tuple(one for one in draft.endpoints if one.cluster_name not in names),
    )


def shared(mesh: Mesh, alike: Patches = ()) -> Draft:
    return of_services(filter(clients.is_common, mesh.services), mesh.own_domains, alike)


def of_services(
    services: Iterable[Service], trust_domains: tuple[str, ...], alike: Patches = ()
) -> Draft:
    """Their clusters and endpoints. alike: users' patches of the scope that they are for."""
    made = [pair for one in services for pair in clusters.of_service(one, trust_domains)]
    draft = Draft(
        clusters=tuple(cluster for cluster, _ in made),
        endpoints=tuple(endpoints for _, endpoints in made if endpoints is not None),
    )
    return patches.outbound(draft, alike)


def outbound(mesh: Mesh, node: Node, alike: Patches = ()) -> Draft:
    """What differs by client, and for an outbound HTTP proxy the way to all services."""
    known = clients.seen(mesh.services, node)
    ours = [
        view
        for service in mesh.services
        if not clients.is_common(service) and (view := clients.seen_by(service, node)) is not None
    ]
    draft = of_services(ours, mesh.own_domains, alike)
    draft += Draft(secrets=credentials.of_services(mesh, node.namespace))
    if (capture := capture_for(mesh, node)) is not None:
        made = Outbound(node, capture).draft(known, Targets(known), mesh.published)
        draft += patches.outbound(made, alike)
    if not node.http_proxy_port:
        return draft
    result = routes.http_proxy(clients.imported(known, mesh.imports, node), node)
    own = Draft(routes=(result.configuration,), unresolved=result.unresolved)
    (table,), unresolved = (own := patches.outbound(own, alike)).routes, own.unresolved
    table = on_demand.fetched(table) if node.on_demand else table
    return draft + Draft(routes=(table,), unresolved=unresolved)


def capture_for(mesh: Mesh, node: Node) -> Capture | None:
    """What the outbound side of a node that intercepts depends on; None for any other."""
    if not node.intercepts:
        return None
    workload = mesh.workload_of(node.namespace, node.pod, node.workload)
    labels = _labels(node, workload)
    places = families.wildcards(node, workload)
    return capture_of(mesh, node, labels, _logs(mesh, node, labels), places)


def _logs(mesh: Mesh, node: Node, labels: Mapping[str, str]) -> Logs:
    """With what is counted beside, which only a Weft proxy can, and who is told of spans."""
    space = node.namespace
    logs = next((one.logs for one in mesh.logs if one.scope.takes(space, labels)), DEFAULT)
    traces = next((one.traces for one in mesh.traces if one.scope.takes(space, labels)), None)
    if traces is not None and (traces.client or traces.server):
        mesh_id = node.metadata.get("MESH_ID", "")
        who = tracing.known_as(traces, labels, node.workload, space, mesh_id)
        logs = replace(logs, traced=replace(traces, who=who))
    if not node.weft_agent:
        return logs
    metrics = (one.metered for one in mesh.metrics if one.scope.takes(space, labels))
    metered = replace(next(metrics, METERED), connections=node.counts_connections)
    return replace(logs, metered=metered)


@frozen
class Beside:
    """All that a node's own side depends on, but for the node. edge: what is seen of the mesh by
    one that is a gateway, too. denied: revoked identities that a plain Envoy is to refuse; None for
    a proxy that knows them by itself. local: the service that the node's own workload is of, for
    one that asks for it."""

    workload: Workload | None
    guards: Guards
    trust_domains: tuple[str, ...]
    edge: Mesh | None = None
    denied: tuple[str, ...] | None = None
    patches: tuple[EnvoyPatch, ...] = ()
    logs: Logs = DEFAULT
    capture: Capture | None = None
    settings: Interception = field(default_factory=Interception)
    local: Service | None = None
    rule_filters: RuleFilters = NO_FILTERS

    @property
    def follows_services(self) -> bool:
        """It depends on what services are, too."""
        return self.edge is not None or self.local is not None


def beside(mesh: Mesh, node: Node, revoked: tuple[str, ...] = ()) -> Beside:
    workload = None  # of an agent, beside a program that listens by itself (gRPC's own xDS)
    if node.role != "agent":
        workload = mesh.workload_of(node.namespace, node.pod, node.workload)
    edge = mesh if node.gateway is not None or place_of(mesh, node) is not None else None
    denied = None if node.weft_agent else revoked
    labels = _labels(node, workload)
    ours = patches.of_node(mesh, node, labels)
    guards = Guards.of(mesh.security, node.namespace, labels)
    logs = _logs(mesh, node, labels)
    capture = capture_for(mesh, node)
    wanted = mesh.rule_filters if node.http_proxy_port else NO_FILTERS
    local = own_cluster.service_of(mesh, node, workload)
    whole = (edge, denied, ours, logs, capture, mesh.interception, local, wanted)
    return Beside(workload, guards, mesh.trust_domains, *whole)


def sidecar(of: Beside, node: Node) -> Draft:
    """The node's own side, with users' patches."""
    return patches.applied(_own_side(of, node), of.patches, node)


def _own_side(of: Beside, node: Node) -> Draft:
    """The inbound side of the node's workload (nothing while it is unknown), its listeners, and
    the gateway's where the node is one."""
    workload, guards = of.workload, of.guards
    explicit = workload.inbound if workload and of.capture is None else ()
    ports = [p for p in explicit if p.protocol != "UDP"]
    namespace = workload.namespace if workload is not None else ""
    settings = of.settings
    named = ((p, stat_names.inbound(settings.inbound_stat_name, p, namespace)) for p in ports)
    inside = (clusters.inbound(*one, settings.keeps_case) for one in named)
    own = {cluster.name: cluster for cluster in inside}
    own |= {jwt.cluster_name(rule): jwt.cluster(rule) for rule in jwks_places(guards.tokens)}
    denied = of.denied
    domains, logs = of.trust_domains, of.logs
    found = [listeners.inbound(p, domains, guards, denied=denied, logs=logs) for p in ports]
    routes = [listeners.inbound_routes(p, denied) for p in ports] if denied is not None else []
    if port := node.http_proxy_port:
        wanted = of.rule_filters
        made = listeners.http_proxy(port, fetches=node.on_demand, logs=logs, wanted=wanted)
        found.append(made)
    draft = Draft(
        clusters=tuple(own.values()),
        endpoints=own_cluster.endpoints(of.local),
        listeners=tuple(found),
        routes=tuple(one for one in routes if one is not None),
    )
    if of.capture is not None and workload is not None:
        draft += _captured(of, workload, of.capture)
    if of.edge is None:
        return draft
    laptop = gateway.gateway(of.edge, node, guards, logs)
    edge = apart(draft + laptop, gateways(of.edge, node, guards, logs))
    alike = patches.of_scope(of.patches, intercepts=False)
    own_clusters = patches.outbound(Draft(edge.clusters, edge.endpoints), alike)
    return draft + laptop + replace(edge, clusters=(), endpoints=()) + own_clusters


def without_place(of: Beside, node: Node) -> tuple[str, ...]:
    """Listeners that the node does not get as a gateway, as its other ones are at their places."""
    if of.edge is None:
        return ()
    own = sidecar(replace(of, edge=None), node)
    return taken(own, gateways(of.edge, node, of.guards, of.logs))


def _captured(of: Beside, workload: Workload, capture: Capture) -> Draft:
    """The inbound side where connections are intercepted."""
    inside = inbound.Inside(workload, capture, of.guards, of.trust_domains, of.denied)
    return Draft(
        clusters=tuple(application_clusters(workload, capture).values()),
        listeners=tuple(inbound.inbound(inside)),
        routes=tuple(inbound.tables(inside)),
    )


def alike_patches(mesh: Mesh, node: Node) -> Patches:
    """Those of what the node has like others of its scope."""
    workload = mesh.workload_of(node.namespace, node.pod, node.workload)
    found = patches.of_node(mesh, node, _labels(node, workload))
    return patches.of_scope(found, node.intercepts)


def _labels(node: Node, workload: Workload | None) -> Mapping[str, str]:
    """Those that the mesh knows of the workload; of an unknown one its own word."""
    return workload.labels if workload is not None else node.labels
