"""Istio's ServiceEntry and WorkloadEntry: services and workloads that Kubernetes does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    HOST,
    LABELS,
    NAME,
    PORT,
    address,
    enum,
    integer,
    ip_range,
    is_ip,
    list_of,
    map_of,
    not_yet,
    text,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required

NETWORKING = names(
    "networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3"
)
PROTOCOLS = ("HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS")


def not_public(export_to: tuple[str, ...], allowed: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Faults of exportTo: only `allowed` values, one at a time, are supported yet."""
    for index, value in enumerate(export_to):
        if value not in allowed:
            words = " or ".join(repr(word) for word in allowed)
            yield f"exportTo[{index}]", f"{value!r} is not supported yet; use {words}"


@record
class Workload(Record):
    """Where a workload is. ports: port name -> number at `address`."""

    IGNORED = names("network")
    address: str = required(address)
    ports: Mapping[str, int] = optional(map_of(PORT), {})
    labels: Mapping[str, str] = optional(LABELS, {})
    locality: str = optional(text, "")
    weight: int = optional(integer(0, 2**31 - 1), 1)
    service_account: str = optional(NAME, "")


@record
class WorkloadEntry(Object):
    API_VERSIONS = NETWORKING
    spec: Workload = required(obj(Workload))


@record
class EntryPort(Record):
    number: int = required(PORT)
    name: str = required(text)
    protocol: str = optional(enum(*PROTOCOLS, fold_case=True), "TCP")
    target_port: int | None = optional(PORT)


@record
class WorkloadSelector(Record):
    labels: Mapping[str, str] = optional(LABELS, {})


@record
class ServiceEntrySpec(Record):
    UNSUPPORTED = names("subjectAltNames")
    hosts: tuple[str, ...] = required(list_of(HOST, 1))
    addresses: tuple[str, ...] = optional(list_of(ip_range), ())
    ports: tuple[EntryPort, ...] = optional(list_of(obj(EntryPort)), ())
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = optional(
        enum("MESH_EXTERNAL", "MESH_INTERNAL"), "MESH_EXTERNAL"
    )
    resolution: Literal["NONE", "STATIC", "DNS"] = optional(
        not_yet(
            enum("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"),
            "DNS_ROUND_ROBIN",
            "DYNAMIC_DNS",
        ),
        "NONE",
    )
    endpoints: tuple[Workload, ...] = optional(list_of(obj(Workload)), ())
    workload_selector: WorkloadSelector | None = optional(obj(WorkloadSelector))
    export_to: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from not_public(self.export_to, ("*",))
        if self.endpoints and self.workload_selector is not None:
            yield "workloadSelector", "and endpoints exclude each other"
        if self.resolution == "NONE" and self.endpoints:
            yield "endpoints", "need resolution STATIC or DNS"
        yield from self._endpoint_faults()
        if self.resolution == "DNS" and not self.endpoints and self.workload_selector is None:
            for index, host in enumerate(self.hosts):
                if "*" in host:
                    yield f"hosts[{index}]", "a wildcard can not be resolved by DNS"
        if len({port.number for port in self.ports}) != len(self.ports):
            yield "ports", "a port number is given twice"
        if len({port.name for port in self.ports}) != len(self.ports):
            yield "ports", "a port name is given twice"

    def _endpoint_faults(self) -> Iterator[tuple[str, str]]:
        names_known = {port.name for port in self.ports}
        for index, endpoint in enumerate(self.endpoints):
            if self.resolution == "STATIC" and not is_ip(endpoint.address):
                message = f"{endpoint.address!r} is not an IP address; use resolution DNS"
                yield f"endpoints[{index}]", message
            for name in sorted(endpoint.ports.keys() - names_known):
                yield f"endpoints[{index}]", f"spec.ports has no port named {name!r}"


@record
class ServiceEntry(Object):
    API_VERSIONS = NETWORKING
    spec: ServiceEntrySpec = required(obj(ServiceEntrySpec))
