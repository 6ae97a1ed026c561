"""Networks: within one workloads reach each other by their addresses, those of another one through
its gateways, which let mutual TLS of the mesh through unopened (Istio's MeshNetworks)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from controlplane.mesh.ip import is_ip
from protos.frozen import frozen

LABEL = "topology.istio.io/network"
"""Of pods, WorkloadEntries, the system's namespace, and Services of gateways."""


@frozen
class NetworkGateway:
    """address: an IP address, or a name that is looked up."""

    network: str
    address: str
    port: int


@frozen
class Networks:
    """gateways: sorted, of all networks. default: the network of what says none. ranges: of
    addresses, each with its network, where there is no default."""

    gateways: tuple[NetworkGateway, ...] = ()
    default: str = ""
    ranges: tuple[tuple[str, str], ...] = ()

    def of(self, network: str) -> tuple[NetworkGateway, ...]:
        """The gateways of one network."""
        return tuple(one for one in self.gateways if one.network == network)

    def at(self, address: str, labels: Mapping[str, str]) -> str:
        """The network of a workload; '' is not known."""
        found = labels.get(LABEL, "") or self.default
        if found or not self.ranges or not is_ip(address):
            return found
        place = ip_address(address)
        for network, name in _parsed(self.ranges):
            if place.version == network.version and place in network:
                return name
        return ""


NO_NETWORKS = Networks()


@lru_cache(maxsize=4)
def _parsed(
    ranges: tuple[tuple[str, str], ...],
) -> tuple[tuple[IPv4Network | IPv6Network, str], ...]:
    """The narrowest first."""
    found = [(ip_network(written, strict=False), name) for written, name in ranges]
    return tuple(sorted(found, key=lambda one: -one[0].prefixlen))
