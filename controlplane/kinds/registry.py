"""The one table of the kinds that Weft understands: kind -> classes, and which apiVersion."""

from __future__ import annotations

from controlplane.kinds import mesh_config
from controlplane.kinds.apps import Deployment
from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.cluster_node import Node
from controlplane.kinds.core import (
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Namespace,
    Service,
    ServiceAccount,
)
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.envoy_filter import EnvoyFilter
from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.kinds.gateway import Gateway as IstioGateway
from controlplane.kinds.gateway_api.gateway import Gateway, GatewayClass, ListenerSet
from controlplane.kinds.gateway_api.grpc_route import GRPCRoute
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.kinds.gateway_api.l4_routes import (
    OldTCPRoute,
    OldTLSRoute,
    OldUDPRoute,
    TCPRoute,
    TLSRoute,
    UDPRoute,
)
from controlplane.kinds.gateway_api.policies import BackendTLSPolicy, ReferenceGrant
from controlplane.kinds.ingress import Ingress, IngressClass
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.peer_authentication import PeerAuthentication
from controlplane.kinds.pod import Pod
from controlplane.kinds.proxy_config import ProxyConfig
from controlplane.kinds.request_authentication import RequestAuthentication
from controlplane.kinds.schema import names
from controlplane.kinds.secrets import Secret
from controlplane.kinds.service_entry import ServiceEntry, WorkloadEntry
from controlplane.kinds.sidecar import Sidecar
from controlplane.kinds.telemetry import Telemetry
from controlplane.kinds.virtual_service import VirtualService
from controlplane.kinds.workload_group import WorkloadGroup

KINDS: dict[tuple[str, str], type[Object]] = {
    (version, cls.kind()): cls
    for cls in (
        Service,
        Endpoints,
        EndpointSlice,
        ServiceAccount,
        Namespace,
        ConfigMap,
        Secret,
        Pod,
        Node,
        Deployment,
        ServiceEntry,
        WorkloadEntry,
        WorkloadGroup,
        VirtualService,
        DestinationRule,
        Sidecar,
        ProxyConfig,
        Telemetry,
        EnvoyFilter,
        PeerAuthentication,
        ClusterFederatedTrustDomain,
        AuthorizationPolicy,
        RequestAuthentication,
        IstioGateway,
        GatewayClass,
        Gateway,
        ListenerSet,
        HTTPRoute,
        GRPCRoute,
        TLSRoute,
        OldTLSRoute,
        TCPRoute,
        OldTCPRoute,
        UDPRoute,
        OldUDPRoute,
        ReferenceGrant,
        BackendTLSPolicy,
        Ingress,
        IngressClass,
    )
    for version in cls.API_VERSIONS
}
"""(apiVersion, kind) -> class."""


_MESH_CONFIG = ObjectKey("ConfigMap", mesh_config.ROOT_NAMESPACE, mesh_config.NAME)


def class_of(version: str, kind: str, key: ObjectKey | None) -> type[Object] | None:
    """What an object is read as: one ConfigMap is the MeshConfig, by its name."""
    return MeshConfigMap if key == _MESH_CONFIG else KINDS.get((version, kind))


def versions_of(kind: str) -> tuple[str, ...]:
    """The apiVersions under which `kind` is understood, sorted; empty for an unknown kind."""
    return tuple(sorted(version for version, name in KINDS if name == kind))


_GROUPS = {version.rpartition("/")[0] for version, _ in KINDS} | {"extensions.istio.io"}
_WITHOUT_EFFECT = names(
    "ClusterSPIFFEID ClusterStaticEntry ComponentStatus ControllerRevision DaemonSet Event "
    "LimitRange NetworkPolicy PersistentVolume PersistentVolumeClaim PodTemplate "
    "ReplicaSet ReplicationController ResourceQuota StatefulSet"
)


def is_foreign(version: str, kind: str) -> bool:
    """Whether an object is certainly not meant for a mesh: of a kind of Kubernetes (or SPIRE) that
    says nothing to it, or of a group of which nothing is understood. A kind of ours in another
    group is a mistake."""
    if versions_of(kind):
        return False
    return kind in _WITHOUT_EFFECT or version.rpartition("/")[0] not in _GROUPS
