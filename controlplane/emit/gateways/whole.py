"""Everything that a proxy gets as a gateway."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.emit import clients, clusters, credentials
from controlplane.emit.access import Guards
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.gateways.crossing import crossing
from controlplane.emit.gateways.listeners import Context, listeners
from controlplane.emit.gateways.places import Place, place_of
from controlplane.emit.node import Node
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Mesh, Service, TrafficPolicy
from controlplane.mesh.telemetry import Logs
from controlplane.snapshot import Draft


def gateways(mesh: Mesh, node: Node, guards: Guards, logs: Logs = DEFAULT) -> Draft:
    """Nothing for a proxy that is no gateway. Private keys go only to one that is proven to be the
    workload which the gateways are for: the others' listeners of TLS stay shut."""
    place = place_of(mesh, node)
    if place is None:
        return Draft()
    known = clients.seen(mesh.services, node)
    targets = Targets(known)
    made = listeners(Context(place, node, guards, targets, mesh.trust_domains, logs, known))
    found = _own_clusters(known, place, mesh.own_domains)
    found += _crossed(known, place)
    return Draft(
        clusters=tuple(cluster for cluster, _ in found),
        endpoints=tuple(one for _, one in found if one is not None),
        listeners=tuple(made.listeners),
        routes=tuple(made.routes),
        secrets=_secrets(mesh, place) if place.proven else (),
        unresolved=targets.missing,
    )


def _own_clusters(
    services: Iterable[Service], place: Place, trust_domains: tuple[str, ...]
) -> list[tuple[Cluster, ClusterLoadAssignment | None]]:
    """Of services to which it shows a certificate of its own: they hide those that all have."""
    shown = next((one.shows for one in place.gateways if one.shows is not None), None)
    if shown is None or not place.proven:
        return []

    def showing(policy: TrafficPolicy) -> TrafficPolicy:
        tls = policy.tls
        if tls is None or not tls.by_gateways:
            return policy
        return replace(policy, tls=replace(tls, shown=shown))

    made: list[tuple[Cluster, ClusterLoadAssignment | None]] = []
    for service in services:
        ports = {number: showing(policy) for number, policy in service.port_policies.items()}
        own = replace(service, port_policies=ports)
        if own != service:
            made += clusters.of_service(own, trust_domains)
    return made


def _crossed(
    services: Iterable[Service], place: Place
) -> list[tuple[Cluster, ClusterLoadAssignment | None]]:
    """The ways of mutual TLS that goes through unopened."""
    servers = [one for gateway in place.gateways for one in gateway.servers if one.by_name]
    crossed = {one.hostname: one for server in servers for one in crossing(services, server)}
    return [pair for name in sorted(crossed) for pair in clusters.passing_on(crossed[name])]


def _secrets(mesh: Mesh, place: Place) -> tuple[Secret, ...]:
    names = {
        name
        for gateway in place.gateways
        for server in gateway.servers
        if server.tls is not None
        for name in (*server.tls.credentials, server.tls.roots)
        if name is not None
    }
    names |= {gateway.shows for gateway in place.gateways if gateway.shows is not None}
    found = (mesh.credential(*name) for name in sorted(names))
    return tuple(secret for one in found if one is not None for secret in credentials.secrets(one))
