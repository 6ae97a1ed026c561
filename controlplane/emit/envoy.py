"""All resources of one node in the envoy dialect, in three parts that change with different things.

part       depends on                                      shared by
shared     services and endpoints                          every proxy
outbound   services and rules; namespace (and labels)      every proxy of a namespace
sidecar    the node's own workload                         one workload's proxies
"""

from __future__ import annotations

from controlplane.emit import clusters, gateway, listeners, routes
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh
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
    found = [listeners.inbound(p, mesh.trust_domain) for p in ports]
    if node.http_proxy_port:
        found.append(listeners.http_proxy(node.http_proxy_port))
    draft = Draft(clusters=tuple(own.values()), listeners=tuple(found))
    return draft + gateway.gateway(mesh, node)
