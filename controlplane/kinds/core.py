"""Kubernetes kinds that carry services and their endpoints, and those accepted without effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    HOST,
    LABELS,
    PORT,
    address,
    boolean,
    enum,
    ip,
    list_of,
    map_of,
    opaque,
    text,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Place, Record, names, notes, obj, optional, record, required
from controlplane.kinds.yaml_nodes import Mapping as Mapping_
from controlplane.kinds.yaml_nodes import Node, Scalar

_TRANSPORT = enum("TCP", "UDP", "SCTP")
Transport = Literal["TCP", "UDP", "SCTP"]


def _port_or_name(node: Node, place: Place) -> int | str:
    if isinstance(node, Scalar) and node.kind == "string" and node.value:
        return node.value
    return PORT(node, place)


def _ip_or_none(node: Node, place: Place) -> str:
    """'None' is a headless service's."""
    value = text(node, place)
    return value if value in ("", "None") else ip(node, place)


# --------------------------------------------------------------------------- Service


@record
class ServicePort(Record):
    """target_port: a number, the name of a container port, or None for the same number."""

    IGNORED = names("nodePort")
    port: int = required(PORT)
    name: str = optional(text, "")
    protocol: Transport = optional(_TRANSPORT, "TCP")
    target_port: int | str | None = optional(_port_or_name)
    app_protocol: str = optional(text, "")


@record
class ServiceSpec(Record):
    IGNORED = names(
        "allocateLoadBalancerNodePorts externalTrafficPolicy "
        "healthCheckNodePort ipFamilyPolicy loadBalancerClass loadBalancerIP "
        "loadBalancerSourceRanges sessionAffinityConfig"
    )
    NOTED = notes(
        sessionAffinity="has no effect in a mesh: each request is balanced; see DestinationRule",
        internalTrafficPolicy="has no effect in a mesh",
    )
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = optional(
        enum("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"), "ClusterIP"
    )
    ports: tuple[ServicePort, ...] = optional(list_of(obj(ServicePort)), ())
    selector: Mapping[str, str] = optional(LABELS, {})
    cluster_ip: str = optional(_ip_or_none, "", key="clusterIP")
    cluster_ips: tuple[str, ...] = optional(list_of(_ip_or_none), (), key="clusterIPs")
    external_name: str = optional(HOST, "")
    external_ips: tuple[str, ...] = optional(list_of(ip), (), key="externalIPs")
    ip_families: tuple[str, ...] = optional(list_of(enum("IPv4", "IPv6")), ())
    publish_not_ready_addresses: bool = optional(boolean, False)
    traffic_distribution: str = optional(text, "")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own, one for each family."""
        every = dict.fromkeys((self.cluster_ip, *self.cluster_ips))
        return tuple(one for one in every if one not in ("", "None"))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.type == "ExternalName" and not self.external_name:
            yield "externalName", "is required when type is ExternalName"
        seen: dict[tuple[int, str], int] = {}
        named: set[str] = set()
        for index, port in enumerate(self.ports):
            if seen.setdefault((port.port, port.protocol), index) != index:
                yield f"ports[{index}]", f"the port {port.port} is given twice"
            if len(self.ports) > 1 and not port.name:
                yield f"ports[{index}]", "needs a name because there are several ports"
            elif port.name and port.name in named:
                yield f"ports[{index}]", f"the name {port.name!r} is given twice"
            named.add(port.name)


@record
class LoadBalancerPlace(Record):
    """Where a load balancer is: ip or hostname."""

    IGNORED = names("ipMode ports")
    ip: str = optional(text, "")
    hostname: str = optional(text, "")


@record
class LoadBalancer(Record):
    ingress: tuple[LoadBalancerPlace, ...] = optional(list_of(obj(LoadBalancerPlace)), ())


@record
class ServiceStatus(Record):
    IGNORED = names("conditions")
    load_balancer: LoadBalancer = optional(obj(LoadBalancer), LoadBalancer())


@record
class Service(Object):
    API_VERSIONS = names("v1")
    IGNORED = Object.IGNORED - {"status"}
    spec: ServiceSpec = required(obj(ServiceSpec))
    status: ServiceStatus = optional(obj(ServiceStatus), ServiceStatus())


# --------------------------------------------------------------------------- endpoints


PodName = tuple[str, str]
"""Namespace and name of a pod; names are '' where none is meant."""
NO_POD: PodName = ("", "")


def _pod(node: Node, place: Place) -> PodName:
    """An ObjectReference: of interest if it is to a Pod."""
    if not isinstance(node, Mapping_):
        raise place.refuse(node, "a reference to an object")
    said = {
        key: one.value
        for key in ("kind", "namespace", "name")
        if isinstance(one := node.get(key), Scalar)
    }
    if said.get("kind") != "Pod":
        return NO_POD
    return said.get("namespace", ""), said.get("name", "")


@record
class EndpointAddress(Record):
    IGNORED = names("hostname")
    ip: str = required(ip)
    node_name: str = optional(text, "")
    pod: PodName = optional(_pod, NO_POD, key="targetRef")


@record
class EndpointPort(Record):
    name: str = optional(text, "")
    port: int = required(PORT)
    protocol: Transport = optional(_TRANSPORT, "TCP")
    app_protocol: str = optional(text, "")


@record
class EndpointSubset(Record):
    addresses: tuple[EndpointAddress, ...] = optional(list_of(obj(EndpointAddress)), ())
    not_ready_addresses: tuple[EndpointAddress, ...] = optional(list_of(obj(EndpointAddress)), ())
    ports: tuple[EndpointPort, ...] = optional(list_of(obj(EndpointPort)), ())


@record
class Endpoints(Object):
    """Of the Service with the same namespace and name."""

    API_VERSIONS = names("v1")
    subsets: tuple[EndpointSubset, ...] = optional(list_of(obj(EndpointSubset)), ())


@record
class EndpointConditions(Record):
    ready: bool = optional(boolean, True)
    serving: bool = optional(boolean, True)
    terminating: bool = optional(boolean, False)


@record
class SliceEndpoint(Record):
    IGNORED = names("deprecatedTopology hints hostname")
    addresses: tuple[str, ...] = required(list_of(address, 1))
    conditions: EndpointConditions = optional(obj(EndpointConditions), EndpointConditions())
    node_name: str = optional(text, "")
    pod: PodName = optional(_pod, NO_POD, key="targetRef")
    zone: str = optional(text, "")


@record
class EndpointSlice(Object):
    """Of the Service that the label kubernetes.io/service-name names."""

    API_VERSIONS = names("discovery.k8s.io/v1")
    address_type: Literal["IPv4", "IPv6", "FQDN"] = required(enum("IPv4", "IPv6", "FQDN"))
    endpoints: tuple[SliceEndpoint, ...] = optional(list_of(obj(SliceEndpoint)), ())
    ports: tuple[EndpointPort, ...] = optional(list_of(obj(EndpointPort)), ())

    @property
    def service_name(self) -> str:
        return self.metadata.labels.get("kubernetes.io/service-name", "")


# --------------------------------------------------------------------------- without effect


@record
class ServiceAccount(Object):
    API_VERSIONS = names("v1")
    IGNORED = Object.IGNORED | names("automountServiceAccountToken imagePullSecrets secrets")


@record
class Namespace(Object):
    API_VERSIONS = names("v1")
    IGNORED = Object.IGNORED | names("spec")


ROOTS = "ca.crt"


def _roots(node: Node, place: Place) -> Mapping[str, str]:
    """Of a ConfigMap only certificates of authorities are kept."""
    found = map_of(text)(node, place)
    return {name: value for name, value in found.items() if name == ROOTS}


@record
class ConfigMap(Object):
    """Gateway API's policies may name one with certificates of authorities."""

    API_VERSIONS = names("v1")
    IGNORED = Object.IGNORED | names("immutable")
    data: Mapping[str, str] = optional(_roots, {})
    binary_data: Mapping[str, None] = optional(map_of(opaque), {})
