"""Istio's ServiceEntry and WorkloadEntry: services and workloads that Kubernetes does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    DNS_LABEL,
    HOST,
    LABELS,
    NAME,
    PORT,
    address,
    enum,
    integer,
    ip_range,
    label,
    list_of,
    map_of,
    text,
)
from controlplane.kinds.export_to import export_faults
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import (
    Invalid,
    Place,
    Record,
    names,
    obj,
    optional,
    record,
    required,
)
from controlplane.kinds.yaml_nodes import Node
from controlplane.mesh.ip import is_ip

NETWORKING = names(
    "networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3"
)
PROTOCOLS = (
    "HTTP",
    "HTTPS",
    "GRPC",
    "GRPC-WEB",
    "HTTP2",
    "HTTP_PROXY",
    "MONGO",
    "MYSQL",
    "REDIS",
    "TCP",
    "TLS",
    "UDP",
)
"""As Istio parses them, in any case."""
_ONE_BY_ONE = frozenset(("TCP", "UDP", "MONGO", "MYSQL", "REDIS"))
"""Protocols whose bytes do not tell which host is meant."""

Resolution = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]
UNIX = "unix://"


def Address(node: Node, place: Place) -> str:
    """An IP address, a host name, or unix:///path (unix://@name is an abstract one)."""
    value = text(node, place)
    path = value.removeprefix(UNIX)
    if path == value:
        return address(node, place)
    if not path.startswith(("/", "@")) or path.endswith("/"):
        raise place.refuse(node, "unix:///path or unix://@name")
    return value


def PortNumbers(node: Node, place: Place) -> Mapping[str, int]:
    found = map_of(PORT)(node, place)
    for name in found:
        if not re.fullmatch(DNS_LABEL, name):
            raise Invalid([place.problem(node, f"{name!r} is not the name of a port")])
    return found


@record
class WorkloadTemplate(Record):
    """What workloads of one kind have in common; a WorkloadGroup's, too. ports: port name -> number
    at `address`."""

    address: str = optional(Address, "")
    network: str = optional(text, "")
    ports: Mapping[str, int] = optional(PortNumbers, {})
    labels: Mapping[str, str] = optional(LABELS, {})
    locality: str = optional(text, "")
    weight: int = optional(integer(0, 2**32 - 1), 1)
    service_account: str = optional(NAME, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.address.startswith(UNIX) and self.ports:
            yield "ports", "a unix socket has no ports"


@record
class Workload(WorkloadTemplate):
    """Where a workload is. address '': in another network, behind its gateway."""

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.address and not self.network:
            yield "address", "is required"
        yield from WorkloadTemplate.check(self)  # a class with slots is made twice: no super()


@record
class WorkloadEntry(Object):
    API_VERSIONS = NETWORKING
    spec: Workload = required(obj(Workload))


def _protocol(node: Node, place: Place) -> str:
    """'' is not set: TCP."""
    return text(node, place) and enum(*PROTOCOLS, fold_case=True)(node, place)


@record
class EntryPort(Record):
    number: int = required(PORT)
    name: str = required(label)
    protocol: str = optional(_protocol, "")
    target_port: int | None = optional(PORT)


@record
class LabelSelector(Record):
    """Istio's older WorkloadSelector, of its networking API."""

    labels: Mapping[str, str] = optional(LABELS, {})


@record
class ServiceEntrySpec(Record):
    hosts: tuple[str, ...] = required(list_of(HOST, 1))
    addresses: tuple[str, ...] = optional(list_of(ip_range), ())
    ports: tuple[EntryPort, ...] = optional(list_of(obj(EntryPort)), ())
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = optional(
        enum("MESH_EXTERNAL", "MESH_INTERNAL"), "MESH_EXTERNAL"
    )
    resolution: Resolution = optional(
        enum("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"), "NONE"
    )
    endpoints: tuple[Workload, ...] = optional(list_of(obj(Workload)), ())
    workload_selector: LabelSelector | None = optional(obj(LabelSelector))
    export_to: tuple[str, ...] = optional(list_of(text), ())
    subject_alt_names: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from export_faults(self.export_to, nobody=True)
        if "*" in self.hosts:
            yield f"hosts[{self.hosts.index('*')}]", "'*' alone is no host"
        if self.endpoints and self.workload_selector is not None:
            yield "workloadSelector", "and endpoints exclude each other"
        if self.resolution not in ("NONE", "STATIC") and any("/" in a for a in self.addresses):
            yield "addresses", "a range of addresses needs resolution NONE or STATIC"
        yield from self._resolution_faults()
        yield from self._endpoint_faults()
        yield from self._port_faults()

    def _resolution_faults(self) -> Iterator[tuple[str, str]]:
        if self.resolution == "NONE" and self.endpoints:
            yield "endpoints", "need resolution STATIC or DNS"
        if self.resolution == "DYNAMIC_DNS":
            yield from self._dynamic_faults()
        elif self.resolution.startswith("DNS") and not self.endpoints:
            for index, host in enumerate(self.hosts):
                if "*" in host and self.workload_selector is None:
                    yield f"hosts[{index}]", "a wildcard can not be resolved by DNS"
        if self.resolution == "DNS_ROUND_ROBIN" and len(self.endpoints) > 1:
            yield "endpoints[1]", "DNS_ROUND_ROBIN takes one endpoint at most"

    def _dynamic_faults(self) -> Iterator[tuple[str, str]]:
        """The name that is asked for is resolved; there is nothing else to say."""
        for index, host in enumerate(self.hosts):
            if not host.startswith("*"):
                yield f"hosts[{index}]", "DYNAMIC_DNS is for wildcards; use DNS for one host"
        for key in ("addresses", "endpoints"):
            if getattr(self, key):
                yield key, "DYNAMIC_DNS has no use for them"
        if self.workload_selector is not None:
            yield "workloadSelector", "DYNAMIC_DNS has no use for it"
        if self.location != "MESH_EXTERNAL":
            yield "location", "DYNAMIC_DNS is for MESH_EXTERNAL"

    def _port_faults(self) -> Iterator[tuple[str, str]]:
        if len({port.number for port in self.ports}) != len(self.ports):
            yield "ports", "a port number is given twice"
        if len({port.name for port in self.ports}) != len(self.ports):
            yield "ports", "a port name is given twice"
        if len(self.hosts) > 1 and self.resolution != "NONE":
            for index, port in enumerate(self.ports):
                if port.protocol in _ONE_BY_ONE:
                    yield f"ports[{index}]", f"{port.protocol} does not tell several hosts apart"

    def _endpoint_faults(self) -> Iterator[tuple[str, str]]:
        names_known = {port.name for port in self.ports}
        for index, endpoint in enumerate(self.endpoints):
            unix = endpoint.address.startswith(UNIX)
            static = not endpoint.address or is_ip(endpoint.address) or unix
            if self.resolution == "STATIC" and not static:
                message = f"{endpoint.address!r} is not an IP address; use resolution DNS"
                yield f"endpoints[{index}]", message
            if unix and self.resolution != "STATIC":
                yield f"endpoints[{index}]", "a unix socket needs resolution STATIC"
            if unix and len(self.ports) != 1:
                yield f"endpoints[{index}]", "a unix socket serves one port only"
            for name in sorted(endpoint.ports.keys() - names_known):
                yield f"endpoints[{index}]", f"spec.ports has no port named {name!r}"


@record
class ServiceEntry(Object):
    API_VERSIONS = NETWORKING
    spec: ServiceEntrySpec = required(obj(ServiceEntrySpec))
