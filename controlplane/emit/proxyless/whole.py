"""All that a mesh comes to for gRPC's clients and servers: by service, and for a workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.emit.access import Guards
from controlplane.emit.clients import Caller
from controlplane.emit.node import Node
from controlplane.emit.proxyless import clusters, listeners, routes
from controlplane.emit.proxyless.losses import Losses
from controlplane.emit.routes import tcp_ports
from controlplane.emit.words import over_ads
from controlplane.mesh.model import Mesh, Service, Status, Workload
from controlplane.snapshot import Draft
from protos.frozen import frozen

DomainsOf = Callable[[Service, int], Iterable[str]]
"""By which domains a port of a service is called."""


@frozen
class Made:
    """What came of something, and what was lost on the way. clusters: those that routes name."""

    draft: Draft
    statuses: tuple[Status, ...] = ()
    clusters: frozenset[str] = frozenset()


def of_service(service: Service, trust_domains: tuple[str, ...]) -> Made:
    """Its clusters and endpoints, which are the same to all clients that see it alike."""
    losses = Losses.of(service)
    made = list(clusters.of_service(service, trust_domains, losses))
    draft = Draft(
        clusters=tuple(cluster for cluster, _ in made),
        endpoints=tuple(endpoints for _, endpoints in made if endpoints is not None),
    )
    return Made(draft, tuple(losses.statuses()))


def ways_to(service: Service, domains: DomainsOf, caller: Caller) -> Made:
    """Its routes, and a listener for each name that the client may call it by."""
    losses = Losses.of(service)
    tables = []
    entries: list[Listener] = []
    for port in tcp_ports(service):
        table = routes.configuration(service, port, caller, losses)
        tables.append(table)
        entries += listeners.for_clients(domains(service, port), table.name)
    named = frozenset(name for table in tables for name in routes.clusters_of(table) if name)
    draft = Draft(listeners=tuple(entries), routes=tuple(tables))
    return Made(draft, tuple(losses.statuses()), named)


@frozen
class Server:
    """All that a workload's own servers depend on. denied: revoked identities."""

    workload: Workload | None
    guards: Guards
    denied: tuple[str, ...]


def server_of(mesh: Mesh, node: Node, revoked: tuple[str, ...]) -> Server:
    workload = mesh.workload_of(node.namespace, node.pod, node.workload)
    labels = workload.labels if workload is not None else node.labels
    return Server(workload, Guards.of(mesh.security, node.namespace, labels), revoked)


def of_server(of: Server) -> Made:
    """Its listeners."""
    workload = of.workload
    if workload is None:
        return Made(Draft())
    where = f"WorkloadEntry {workload.namespace}/{workload.name}"
    losses = Losses(where, workload.position)
    made = tuple(listeners.for_servers(workload, of.guards, of.denied, losses))
    return Made(Draft(listeners=made), tuple(losses.statuses()))


def empty(names: Iterable[str]) -> Draft:
    """Clusters without endpoints, in place of those that routes name in vain: gRPC would hold up
    every call of its channel for 15 s."""
    several = tuple(sorted(names))
    made = []
    for name in several:
        cluster = Cluster(name=name, type=Cluster.EDS)
        cluster.eds_cluster_config.eds_config.CopyFrom(over_ads())
        made.append(cluster)
    endpoints = tuple(ClusterLoadAssignment(cluster_name=name) for name in several)
    return Draft(clusters=tuple(made), endpoints=endpoints)
