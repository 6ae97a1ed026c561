"""Where the endpoints of a proxy's own service are: by them it finds out how much of a zone is for
its like (Envoy's zone aware routing). Istio's agents have a cluster of that name."""

from __future__ import annotations

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.emit.endpoints import load_assignment, select
from controlplane.emit.localities import groups
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh, Service, Workload

NAME = "local_cluster"
ASKED = "ENABLE_SELF_DISCOVERY"
"""In the metadata of a node that wants it (ISTIO_META_ENABLE_SELF_DISCOVERY)."""


def service_of(mesh: Mesh, node: Node, workload: Workload | None) -> Service | None:
    """The first that the workload is of; None for a node that does not ask."""
    if workload is None or node.metadata.get(ASKED) != "true":
        return None
    ports = (*workload.inbound, *workload.captured)
    names = sorted({hostname for port in ports for hostname in port.hostnames})
    found = (mesh.service(name) for name in names)
    return next((one for one in found if one is not None), None)


def endpoints(service: Service | None) -> tuple[ClusterLoadAssignment, ...]:
    if service is None or not service.ports:
        return ()
    number = service.ports[0].number
    return (load_assignment(NAME, groups(select(service, number, {})), number),)
