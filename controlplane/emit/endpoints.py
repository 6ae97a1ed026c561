"""Endpoints of a service port or subset as a ClusterLoadAssignment.

Localities carry weights even where Envoy would not need them: gRPC clients silently drop a
locality without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import Locality, Metadata
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3 import endpoint_components_pb2 as parts
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from controlplane.emit.localities import Group
from controlplane.emit.networks import joined
from controlplane.emit.words import UNIX, socket_address
from controlplane.mesh.model import Endpoint, Service

SOCKET_MATCH = "envoy.transport_socket_match"
TLS_MODE = "tlsMode"
MUTUAL = "istio"
_REMEMBERED = 1024
"""What endpoints are beside where they are, mostly the same of all of a workload."""

# Labels by which Istio knows of which service a workload is, and in which revision.
CANONICAL_NAMES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
CANONICAL_REVISIONS = (
    "service.istio.io/canonical-revision",
    "app.kubernetes.io/version",
    "version",
)
MADE_BY = "pod-template-hash"
"""Of the ReplicaSet that has made a pod; it stands in the pod's name."""

_HEALTH: Mapping[str, HealthStatus] = {
    "HEALTHY": HealthStatus.HEALTHY,
    "UNHEALTHY": HealthStatus.UNHEALTHY,
    "DRAINING": HealthStatus.DRAINING,
}


def select(service: Service, port: int, labels: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The endpoints that serve `port` and carry all of `labels`."""
    return tuple(
        endpoint
        for endpoint in service.endpoints
        if port in endpoint.ports and labels.items() <= endpoint.labels.items()
    )


def load_assignment(name: str, groups: Iterable[Group], port: int) -> ClusterLoadAssignment:
    """`name` is the cluster's; `port` the service's, which each endpoint maps to its own."""
    return ClusterLoadAssignment(
        cluster_name=name, endpoints=[_locality(group, port) for group in groups]
    )


def _locality(group: Group, port: int) -> parts.LocalityLbEndpoints:
    region, zone, sub_zone = group.locality
    made = parts.LocalityLbEndpoints(
        locality=Locality(region=region, zone=zone, sub_zone=sub_zone),
        load_balancing_weight=UInt32Value(value=group.weight),
        priority=group.priority,
    )
    there = joined(group.endpoints, port)
    for one in sorted(there, key=lambda e: (e.address, e.ports[port], e.workload)):
        _fill(made.lb_endpoints.add(), one, one.ports[port])
    return made


def _fill(made: parts.LbEndpoint, endpoint: Endpoint, number: int) -> None:
    """There are very many: most of it comes from bytes that are many others', too."""
    workload = _workload(endpoint) if endpoint.workload else ""
    about = endpoint.health, endpoint.weight or 1, endpoint.mesh, workload
    made.MergeFromString(_beside_address(*about))
    _place(made.endpoint.address, endpoint.address, number)
    for address in endpoint.more_addresses:
        _place(made.endpoint.additional_addresses.add().address, address, number)


def _place(made: Address, address: str, number: int) -> None:
    if address.startswith(UNIX):
        made.CopyFrom(socket_address(address, number))
        return
    place = made.socket_address
    place.address, place.port_value = address, number


def _workload(endpoint: Endpoint) -> str:
    """As Istio tells metrics who serves there: workload;namespace;service;revision;cluster. Pods
    that one Deployment has made are one workload."""
    labels = endpoint.labels
    namespace, _, name = endpoint.workload.partition("/")
    name = name.partition(f"-{labels[MADE_BY]}-")[0] if labels.get(MADE_BY) else name
    service = next((labels[one] for one in CANONICAL_NAMES if labels.get(one)), name)
    revision = next((labels[one] for one in CANONICAL_REVISIONS if labels.get(one)), "")
    return f"{name};{namespace};{service};{revision};"


@lru_cache(_REMEMBERED)
def _beside_address(health: str, weight: int, mesh: bool, workload: str) -> bytes:
    made = parts.LbEndpoint(
        health_status=_HEALTH[health],
        load_balancing_weight=UInt32Value(value=weight),
        metadata=_metadata(mesh, workload),
    )
    return made.SerializeToString(deterministic=True)


def _metadata(mesh: bool, workload: str) -> Metadata:
    metadata = Metadata()
    if mesh:
        mode = Struct()
        mode.update({TLS_MODE: MUTUAL})
        metadata.filter_metadata[SOCKET_MATCH].CopyFrom(mode)
    if workload:
        named = Struct()
        named.update({"workload": workload})
        metadata.filter_metadata["istio"].CopyFrom(named)
    return metadata
