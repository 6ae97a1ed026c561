"""All resources of one node in the envoy dialect, in three parts that change with different things.

part       depends on                                      shared by
shared     services and endpoints                          every proxy
outbound   services and rules; namespace (and labels)      every proxy of a namespace
sidecar    the node's own workload, policies               one workload's proxies
"""

from __future__ import annotations

from controlplane.emit import clusters, gateway, jwt, listeners, routes
from controlplane.emit.access import Guards, jwks_places
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh, Workload
from controlplane.snapshot import Draft


def emit(mesh: Mesh, node: Node) -> Draft:
    return shared(mesh) + outbound(mesh, node) + sidecar(mesh, node)


def shared(mesh: Mesh) -> Draft:
    pairs = tuple(clusters.outbound(mesh))
    return Draft(
        clusters=tuple(cluster for cluster, _ in pairs),
        endpoints=tuple(endpoints for _, endpoints in pairs if endpoints is not None),
    )


def outbound(mesh: Mesh, node: Node) -> Draft:
    if not node.http_proxy_port:
        return Draft()
    result = routes.http_proxy(mesh, node)
    return Draft(routes=(result.configuration,), unresolved=result.unresolved)


def sidecar(mesh: Mesh, node: Node) -> Draft:
    """The inbound side of the node's workload (nothing while it is unknown), its listeners, and
    the gateway's where the node is one."""
    workload = mesh.workload(node.namespace, node.workload)
    ports = [p for p in workload.inbound if p.protocol != "UDP"] if workload else []
    own = {cluster.name: cluster for cluster in map(clusters.inbound, ports)}
    guards = _guards(mesh, node, workload)
    own |= {jwt.cluster_name(rule): jwt.cluster(rule) for rule in jwks_places(guards.tokens)}
    found = [listeners.inbound(p, mesh.trust_domains, guards) for p in ports]
    if node.http_proxy_port:
        found.append(listeners.http_proxy(node.http_proxy_port))
    draft = Draft(clusters=tuple(own.values()), listeners=tuple(found))
    return draft + gateway.gateway(mesh, node, guards)


def _guards(mesh: Mesh, node: Node, workload: Workload | None) -> Guards:
    """By the labels that the mesh knows of the workload; of an unknown one by its own word."""
    labels = workload.labels if workload is not None else node.labels
    return Guards.of(mesh.security, node.namespace, labels)
