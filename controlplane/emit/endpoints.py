"""Endpoints of a service port or subset as a ClusterLoadAssignment.

Localities carry weights even where Envoy would not need them: gRPC clients silently drop a
locality without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.core.v3.base_pb2 import Locality, Metadata
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3 import endpoint_components_pb2 as parts
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from controlplane.emit.localities import Group
from controlplane.emit.words import socket_address
from controlplane.mesh.model import Endpoint, Service

SOCKET_MATCH = "envoy.transport_socket_match"
TLS_MODE = "tlsMode"
MUTUAL = "istio"

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
    ordered = sorted(group.endpoints, key=lambda e: (e.address, e.ports[port], e.workload))
    return parts.LocalityLbEndpoints(
        locality=Locality(region=region, zone=zone, sub_zone=sub_zone),
        load_balancing_weight=UInt32Value(value=group.weight),
        priority=group.priority,
        lb_endpoints=[_endpoint(endpoint, port) for endpoint in ordered],
    )


def _endpoint(endpoint: Endpoint, port: int) -> parts.LbEndpoint:
    number = endpoint.ports[port]
    place = parts.Endpoint(address=socket_address(endpoint.address, number))
    for address in endpoint.more_addresses:
        place.additional_addresses.add(address=socket_address(address, number))
    return parts.LbEndpoint(
        endpoint=place,
        health_status=_HEALTH[endpoint.health],
        load_balancing_weight=UInt32Value(value=endpoint.weight or 1),
        metadata=_metadata(endpoint),
    )


def _workload(endpoint: Endpoint) -> str:
    """As Istio tells metrics who serves there: workload;namespace;service;revision;cluster. Pods
    that one Deployment has made are one workload."""
    labels = endpoint.labels
    namespace, _, name = endpoint.workload.partition("/")
    name = name.partition(f"-{labels[MADE_BY]}-")[0] if labels.get(MADE_BY) else name
    service = next((labels[one] for one in CANONICAL_NAMES if labels.get(one)), name)
    revision = next((labels[one] for one in CANONICAL_REVISIONS if labels.get(one)), "")
    return f"{name};{namespace};{service};{revision};"


def _metadata(endpoint: Endpoint) -> Metadata:
    metadata = Metadata()
    if endpoint.mesh:
        mode = Struct()
        mode.update({TLS_MODE: MUTUAL})
        metadata.filter_metadata[SOCKET_MATCH].CopyFrom(mode)
    if endpoint.workload:
        workload = Struct()
        workload.update({"workload": _workload(endpoint)})
        metadata.filter_metadata["istio"].CopyFrom(workload)
    return metadata
