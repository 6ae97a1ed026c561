"""Which gateways are for a proxy, and at which addresses and ports it listens for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from controlplane.emit.node import Node
from controlplane.emit.words import is_ip
from controlplane.mesh.gateways import Gateway, Server
from controlplane.mesh.model import Mesh, Workload
from controlplane.mesh.scopes import GATEWAY_NAME

EVERYWHERE = "0.0.0.0"
ROUTER = "router~"
"""Begins the node id of Istio's gateways."""


@dataclass(frozen=True, slots=True)
class Place:
    """A proxy as a gateway. ports: of Services before it -> where it listens for them. proven: it
    is the workload that it says, so that it may have private keys."""

    gateways: tuple[Gateway, ...]
    address: str
    ports: Mapping[int, tuple[int, ...]]
    proven: bool

    def address_of(self, server: Server) -> str:
        return server.bind or self.address

    def ports_of(self, server: Server) -> tuple[int, ...]:
        return self.ports.get(server.port, (server.port,))


def place_of(mesh: Mesh, node: Node) -> Place | None:
    """None for a proxy that is no gateway. Labels are those that the mesh knows of the workload;
    of an unknown one, which gets no keys, its own word."""
    workload = mesh.workload_of(node.namespace, node.pod, node.workload)
    labels = workload.labels if workload is not None else node.labels
    found = tuple(
        gateway
        for gateway in mesh.gateways
        if gateway.scope.takes(node.namespace, labels) and _may_be(gateway, node, labels)
    )
    if not found:
        return None
    proven = workload is not None and workload.service_account == node.service_account
    return Place(found, _address(workload), _ports(mesh, workload), proven)


def _may_be(gateway: Gateway, node: Node, labels: Mapping[str, str]) -> bool:
    """A scope without labels takes gateways only, not every sidecar."""
    chosen = bool(gateway.scope.labels) or gateway.scope.gateways is not None
    return chosen or node.id.startswith(ROUTER) or GATEWAY_NAME in labels


def _address(workload: Workload | None) -> str:
    """Every address, but of a workload on the loopback (a laptop's) only that one."""
    if workload is not None and is_ip(workload.address):
        return workload.address if ip_address(workload.address).is_loopback else EVERYWHERE
    return EVERYWHERE


def _ports(mesh: Mesh, workload: Workload | None) -> Mapping[int, tuple[int, ...]]:
    """By the Services that have it as an endpoint, as a workload or by its address, which on a
    laptop is everybody's."""
    if workload is None:
        return {}
    own = f"{workload.namespace}/{workload.name}"
    address = workload.address if _address(workload) == EVERYWHERE else ""
    found: dict[int, dict[int, None]] = {}
    for service in mesh.services:
        for endpoint in service.endpoints:
            if endpoint.workload == own or (address and endpoint.address == address):
                for port, target in endpoint.ports.items():
                    found.setdefault(port, {})[target] = None
    return {port: tuple(targets) for port, targets in found.items()}
