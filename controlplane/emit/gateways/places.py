"""Which gateways are for a proxy, and at which addresses and ports it listens for them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from controlplane.emit.families import wildcards
from controlplane.emit.node import Node
from controlplane.mesh.gateways import Gateway, Server
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import Mesh, Workload
from controlplane.mesh.scopes import GATEWAY_NAME
from protos.frozen import frozen

ROUTER = "router~"
"""Begins the node id of Istio's gateways."""


Ports = Mapping[int, tuple[int, ...]]
"""Of Services before a proxy -> where it listens for them."""


ANY_SERVICE = ("", "")


@frozen
class Place:
    """A proxy as a gateway. ports: by namespace and host of the Service before it; ANY_SERVICE
    stands for all of them. more: addresses that go with `address`. proven: it is the workload that
    it says, so that it may have private keys."""

    gateways: tuple[Gateway, ...]
    address: str
    ports: Mapping[tuple[str, str], Ports]
    proven: bool
    more: tuple[str, ...] = ()

    def address_of(self, server: Server) -> str:
        return server.bind or self.address

    def ports_of(self, gateway: Gateway, server: Server) -> tuple[int, ...]:
        if not gateway.behind:
            return self.ports[ANY_SERVICE].get(server.port, (server.port,))
        own = (self.ports.get((gateway.namespace, name), {}) for name in gateway.behind)
        found = (ports.get(server.port, ()) for ports in own)
        return tuple(dict.fromkeys(port for ports in found for port in ports))


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
    address, *more = _addresses(node, workload)
    return Place(found, address, _ports(mesh, workload), proven, tuple(more))


def _may_be(gateway: Gateway, node: Node, labels: Mapping[str, str]) -> bool:
    """A scope without labels takes gateways only, not every sidecar."""
    chosen = bool(gateway.scope.labels) or gateway.scope.gateways is not None
    return chosen or node.id.startswith(ROUTER) or GATEWAY_NAME in labels


def _addresses(node: Node, workload: Workload | None) -> tuple[str, ...]:
    """Every address, but of a workload on the loopback (a laptop's) only that one."""
    if workload is not None and _is_laptop(workload):
        return (workload.address,)
    return wildcards(node, workload)


def _is_laptop(workload: Workload) -> bool:
    return is_ip(workload.address) and ip_address(workload.address).is_loopback


def _ports(mesh: Mesh, workload: Workload | None) -> Mapping[tuple[str, str], Ports]:
    """By the Services that have it as an endpoint, as a workload or by its address, which on a
    laptop is everybody's."""
    if workload is None:
        return {ANY_SERVICE: {}}
    own = f"{workload.namespace}/{workload.name}"
    address = "" if _is_laptop(workload) else workload.address
    found: dict[tuple[str, str], dict[int, dict[int, None]]] = {ANY_SERVICE: {}}
    for service in mesh.services:
        for endpoint in service.endpoints:
            if endpoint.workload == own or (address and endpoint.address == address):
                for port, target in endpoint.ports.items():
                    listens = port if service.fixed_ports else target
                    one = found.setdefault((service.namespace, service.hostname), {})
                    one.setdefault(port, {})[listens] = None
                    if not service.fixed_ports:
                        found[ANY_SERVICE].setdefault(port, {})[target] = None
    return {name: {p: tuple(to) for p, to in of.items()} for name, of in found.items()}
