"""MeshNetworks, labels of the system's namespace and of Services -> the networks of the mesh.

Istio's rules: a gateway of a network is said by MeshNetworks, by address or by the Service before
it, or is a Service or a Gateway of Gateway API with the label of its network; of a Service the
addresses outside of the cluster count, of a Gateway those that it asks for. A workload is in the
network that it says itself, by field or label; else in that of the system's namespace; else in that
of the cluster or of its address by MeshNetworks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds import core
from controlplane.kinds.gateway_api.gateway import Gateway, Listener
from controlplane.kinds.mesh_config import ROOT_NAMESPACE, MeshConfigMap
from controlplane.kinds.mesh_networks import MeshNetworks
from controlplane.mesh.networks import LABEL, NetworkGateway, Networks
from controlplane.translate.index import DOMAIN
from controlplane.translate.report import Report

GATEWAY_PORT = "networking.istio.io/gatewayPort"
"""Istio's label of a Service with another port."""

PORT = 15443
"""Istio's, where mutual TLS goes through a gateway unopened."""

MAX_PORT = 65535

OWN_REGISTRY = "Kubernetes"
"""Istio's name of the cluster in which the control plane is."""


def build(
    configs: Iterable[MeshConfigMap],
    services: Iterable[core.Service],
    namespaces: Iterable[core.Namespace],
    edges: Iterable[Gateway],
    report: Report,
) -> Networks:
    config = next(iter(configs), None)
    said = config.data.mesh_networks if config is not None else MeshNetworks()
    asked = {
        gateway.registry_service_name
        for network in said.networks.values()
        for gateway in network.gateways
        if gateway.registry_service_name
    }
    before = [one for one in services if LABEL in one.metadata.labels or _name(one) in asked]
    gateways = {*_labelled(before, report), *_declared(edges)}
    if config is not None:
        gateways |= set(_of_config(config, {_name(one): one for one in before}, report))
        _tell_registries(config, report)
    own, ranges = _addresses(said)
    system = (one.metadata.labels for one in namespaces if one.name == ROOT_NAMESPACE)
    default = next((labels[LABEL] for labels in system if labels.get(LABEL)), own)
    ordered = sorted(gateways, key=lambda one: (one.network, one.address, one.port))
    return Networks(tuple(ordered), default, ranges)


def _name(service: core.Service) -> str:
    return f"{service.name}.{service.namespace}.svc.{DOMAIN}"


def _labelled(services: Iterable[core.Service], report: Report) -> Iterator[NetworkGateway]:
    for service in services:
        labels = service.metadata.labels
        if network := labels.get(LABEL):
            yield from _at(service, network, _port(service, report), report)


def _port(service: core.Service, report: Report) -> int:
    written = service.metadata.labels.get(GATEWAY_PORT, str(PORT))
    if written.isdecimal() and 0 < int(written) <= MAX_PORT:
        return int(written)
    message = f"the label {GATEWAY_PORT} is no port: {written!r}; {PORT} is taken"
    report.warning(service, service.position, "NoEffect", message)
    return PORT


def _declared(edges: Iterable[Gateway]) -> Iterator[NetworkGateway]:
    for edge in edges:
        labels = edge.metadata.labels
        if network := labels.get(LABEL):
            port = labels.get(GATEWAY_PORT, str(PORT))
            for listener in edge.spec.listeners:
                if _lets_through(listener, port):
                    for address in edge.spec.addresses:
                        if address.value and address.type in ("IPAddress", "Hostname"):
                            yield NetworkGateway(network, address.value, listener.port)


def _lets_through(listener: Listener, port: str) -> bool:
    """Whether mutual TLS goes through unopened (Istio's words)."""
    if listener.tls is None:
        return False
    said = listener.tls.options.get("gateway.istio.io/listener-protocol") == "auto-passthrough"
    return said or str(listener.port) == port


def _at(service: core.Service, network: str, port: int, report: Report) -> Iterator[NetworkGateway]:
    addresses = outside(service)
    if not addresses:
        message = (
            f"the gateway of the network {network!r} has no address outside of the cluster: give "
            "it a load balancer or externalIPs"
        )
        report.warning(service, service.position, "NoAddress", message)
    for address in addresses:
        yield NetworkGateway(network, address, port)


def outside(service: core.Service) -> tuple[str, ...]:
    """Its addresses for those who are not in the cluster."""
    balanced = (one.ip or one.hostname for one in service.status.load_balancer.ingress)
    return tuple(dict.fromkeys(one for one in (*balanced, *service.spec.external_ips) if one))


def _of_config(
    config: MeshConfigMap, services: dict[str, core.Service], report: Report
) -> Iterator[NetworkGateway]:
    for network, one in config.data.mesh_networks.networks.items():
        for gateway in one.gateways:
            name = gateway.registry_service_name
            if not name:
                yield NetworkGateway(network, gateway.address, gateway.port)
            elif name in services:
                yield from _at(services[name], network, gateway.port, report)
            else:
                message = f"there is no Service {name!r}, which is to be a gateway of {network!r}"
                report.warning(config, gateway.at("registryServiceName"), "NoGateway", message)


def _addresses(said: MeshNetworks) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The network of the whole cluster, and those of addresses."""
    own, ranges = "", []
    for network, one in said.networks.items():
        for endpoints in one.endpoints:
            if endpoints.from_registry == OWN_REGISTRY:
                own = own or network
            elif endpoints.from_cidr:
                ranges.append((endpoints.from_cidr, network))
    return own, tuple(ranges)


def _tell_registries(config: MeshConfigMap, report: Report) -> None:
    for network, one in config.data.mesh_networks.networks.items():
        for endpoints in one.endpoints:
            registry = endpoints.from_registry
            if registry and registry != OWN_REGISTRY:
                message = (
                    f"meshNetworks.networks.{network}: the registry {registry!r} is not followed; "
                    f"the cluster of this control plane is {OWN_REGISTRY!r}"
                )
                report.info(config, endpoints.at("fromRegistry"), "NoEffect", message)
