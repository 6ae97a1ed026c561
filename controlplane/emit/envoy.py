"""All resources of one node in the envoy dialect, in three parts that change with different things.

part       depends on                                      shared by
shared     services that all clients see alike             every proxy
outbound   other services, rules, credentials; `Client`    every proxy of a namespace (and labels)
sidecar    `Beside`: the node's own workload, policies     one workload's proxies
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.emit import (
    clients,
    clusters,
    credentials,
    gateway,
    jwt,
    listeners,
    on_demand,
    patches,
    routes,
)
from controlplane.emit.access import Guards, jwks_places
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.gateways.places import place_of
from controlplane.emit.gateways.whole import gateways
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh, Service, Workload
from controlplane.mesh.patches import EnvoyPatch
from controlplane.mesh.telemetry import Logs
from controlplane.snapshot import Draft


def emit(mesh: Mesh, node: Node) -> Draft:
    return shared(mesh) + outbound(mesh, node) + sidecar(beside(mesh, node), node)


def shared(mesh: Mesh) -> Draft:
    return of_services(filter(clients.is_common, mesh.services), mesh.own_domains)


def of_services(services: Iterable[Service], trust_domains: tuple[str, ...]) -> Draft:
    """Their clusters and endpoints."""
    made = [pair for one in services for pair in clusters.of_service(one, trust_domains)]
    return Draft(
        clusters=tuple(cluster for cluster, _ in made),
        endpoints=tuple(endpoints for _, endpoints in made if endpoints is not None),
    )


def outbound(mesh: Mesh, node: Node) -> Draft:
    """What differs by client, and for an outbound HTTP proxy the way to all services."""
    known = clients.seen(mesh.services, node)
    ours = [
        view
        for service in mesh.services
        if not clients.is_common(service) and (view := clients.seen_by(service, node)) is not None
    ]
    draft = of_services(ours, mesh.own_domains)
    draft += Draft(secrets=credentials.of_services(mesh, node.namespace))
    if not node.http_proxy_port:
        return draft
    result = routes.http_proxy(clients.imported(known, mesh.imports, node), node)
    table = on_demand.fetched(result.configuration) if node.on_demand else result.configuration
    return draft + Draft(routes=(table,), unresolved=result.unresolved)


@dataclass(frozen=True, slots=True)
class Beside:
    """All that a node's own side depends on, but for the node. edge: what is seen of the mesh by
    one that is a gateway, too. denied: revoked identities that a plain Envoy is to refuse; None for
    a proxy that knows them by itself."""

    workload: Workload | None
    guards: Guards
    trust_domains: tuple[str, ...]
    edge: Mesh | None = None
    denied: tuple[str, ...] | None = None
    patches: tuple[EnvoyPatch, ...] = ()
    logs: Logs = DEFAULT


def beside(mesh: Mesh, node: Node, revoked: tuple[str, ...] = ()) -> Beside:
    workload = mesh.workload(node.namespace, node.workload)
    edge = mesh if node.gateway is not None or place_of(mesh, node) is not None else None
    denied = None if node.weft_agent else revoked
    labels = _labels(node, workload)
    ours = tuple(one for one in mesh.patches if one.scope.takes(node.namespace, labels))
    guards = Guards.of(mesh.security, node.namespace, labels)
    logs = next((one.logs for one in mesh.logs if one.scope.takes(node.namespace, labels)), DEFAULT)
    return Beside(workload, guards, mesh.trust_domains, edge, denied, ours, logs)


def sidecar(of: Beside, node: Node) -> Draft:
    """The node's own side, with users' patches."""
    return patches.applied(_own_side(of, node), of.patches, node)


def _own_side(of: Beside, node: Node) -> Draft:
    """The inbound side of the node's workload (nothing while it is unknown), its listeners, and
    the gateway's where the node is one."""
    workload, guards = of.workload, of.guards
    ports = [p for p in workload.inbound if p.protocol != "UDP"] if workload else []
    own = {cluster.name: cluster for cluster in map(clusters.inbound, ports)}
    own |= {jwt.cluster_name(rule): jwt.cluster(rule) for rule in jwks_places(guards.tokens)}
    denied = of.denied
    domains, logs = of.trust_domains, of.logs
    found = [listeners.inbound(p, domains, guards, denied=denied, logs=logs) for p in ports]
    routes = [listeners.inbound_routes(p, denied) for p in ports] if denied is not None else []
    if node.http_proxy_port:
        found.append(listeners.http_proxy(node.http_proxy_port, fetches=node.on_demand, logs=logs))
    draft = Draft(
        clusters=tuple(own.values()),
        listeners=tuple(found),
        routes=tuple(one for one in routes if one is not None),
    )
    if of.edge is None:
        return draft
    laptop = gateway.gateway(of.edge, node, guards, logs)
    return draft + laptop + gateways(of.edge, node, guards, logs)


def _labels(node: Node, workload: Workload | None) -> Mapping[str, str]:
    """Those that the mesh knows of the workload; of an unknown one its own word."""
    return workload.labels if workload is not None else node.labels
