"""Istio's MeshNetworks, as they stand in the ConfigMap `istio` of the root namespace, key
`meshNetworks`: which addresses are in which network, and by which gateways it is reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.kinds.attributes import cidr
from controlplane.kinds.decoders import PORT, list_of, map_of, text
from controlplane.kinds.schema import Record, names, obj, optional, record, required
from controlplane.mesh.ip import is_ip


@record
class NetworkEndpoints(Record):
    """One of the two is set."""

    from_cidr: str = optional(cidr, "")
    from_registry: str = optional(text, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if bool(self.from_cidr) == bool(self.from_registry):
            yield "fromCidr", "give one of fromCidr and fromRegistry"


@record
class NetworkGateway(Record):
    """One of the first two is set. The locality of a gateway decides nothing in Istio either."""

    IGNORED = names("locality")
    address: str = optional(text, "")
    registry_service_name: str = optional(text, "")
    port: int = required(PORT)

    def check(self) -> Iterator[tuple[str, str]]:
        if bool(self.address) == bool(self.registry_service_name):
            yield "address", "give one of address and registryServiceName"
        if self.address and not is_ip(self.address) and "." not in self.address:
            yield "address", f"{self.address!r} is neither an IP address nor a full name"


@record
class Network(Record):
    endpoints: tuple[NetworkEndpoints, ...] = optional(list_of(obj(NetworkEndpoints)), ())
    gateways: tuple[NetworkGateway, ...] = optional(list_of(obj(NetworkGateway)), ())


@record
class MeshNetworks(Record):
    networks: Mapping[str, Network] = optional(map_of(obj(Network)), {})
