"""Kubernetes Services and ServiceEntries -> services of the mesh with their endpoints.

A Service selects WorkloadEntries of its namespace by label, as it selects pods; Endpoints and
EndpointSlices add what they list. Policies and rules are added later (policies, routes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from controlplane.inventory import Snapshot
from controlplane.kinds import core
from controlplane.kinds.service_entry import EntryPort, ServiceEntry, Workload, WorkloadEntry
from controlplane.mesh.model import Endpoint, Protocol, Service, ServicePort
from controlplane.translate import protocols
from controlplane.translate.index import DOMAIN, Workloads, age
from controlplane.translate.report import Report
from controlplane.translate.sidecars import Sidecars

_ENTRY_PROTOCOLS: dict[str, Protocol] = {
    "HTTP": "HTTP",
    "HTTPS": "HTTPS",
    "GRPC": "GRPC",
    "GRPC-WEB": "HTTP",
    "HTTP2": "HTTP2",
    "MONGO": "MONGO",
    "TCP": "TCP",
    "TLS": "TLS",
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A workload entry serves a service. ports: service port -> (workload's port, target names).

    targets: service port number -> numbers under which policies may know the workload's port."""

    entry: WorkloadEntry
    service: Service
    ports: Mapping[int, int]
    targets: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Translated:
    """services sorted by hostname, each hostname once."""

    services: tuple[Service, ...]
    attachments: tuple[Attachment, ...]


def build(snapshot: Snapshot, sidecars: Sidecars, report: Report) -> Translated:
    maker = _Maker(snapshot, sidecars, report)
    for service in snapshot.of(core.Service):
        maker.add_service(service)
    for entry in sorted(snapshot.of(ServiceEntry), key=age):
        maker.add_entry(entry)
    services = tuple(maker.services[name] for name in sorted(maker.services))
    return Translated(services, tuple(maker.attachments))


class _Maker:
    def __init__(self, snapshot: Snapshot, sidecars: Sidecars, report: Report) -> None:
        self.services: dict[str, Service] = {}
        self.attachments: list[Attachment] = []
        self._sidecars = sidecars
        self._report = report
        self._workloads = Workloads(snapshot.of(WorkloadEntry))
        self._endpoints = {(e.namespace, e.name): e for e in snapshot.of(core.Endpoints)}
        self._slices: dict[tuple[str, str], list[core.EndpointSlice]] = defaultdict(list)
        for item in snapshot.of(core.EndpointSlice):
            self._slices[item.namespace, item.service_name].append(item)

    # ------------------------------------------------------------------ Kubernetes

    def add_service(self, service: core.Service) -> None:
        key = (service.namespace, service.name)
        hostname = f"{service.name}.{service.namespace}.svc.{DOMAIN}"
        made = self._plain(service, hostname)
        if service.spec.type == "ExternalName":
            ports = {port.number: port.number for port in made.ports}
            found = [Endpoint(service.spec.external_name, ports)]
        else:
            found = self._selected(service, made)
            if (listed := self._endpoints.get(key)) is not None:
                found += _of_endpoints(service, listed)
            for item in self._slices.get(key, ()):
                found += _of_slice(service, item)
        self.services[hostname] = _with_endpoints(made, found)

    def _plain(self, service: core.Service, hostname: str) -> Service:
        spec = service.spec
        base = f"{service.name}.{service.namespace}"
        external = spec.type == "ExternalName"
        return Service(
            hostname=hostname,
            name=service.name,
            namespace=service.namespace,
            ports=tuple(self._ports(service)),
            aliases=(base, f"{base}.svc"),
            local_aliases=(service.name,),
            addresses=() if spec.cluster_ip in ("", "None") else (spec.cluster_ip,),
            resolution="DNS" if external else "STATIC",
            external=external,
            position=service.position,
        )

    def _ports(self, service: core.Service) -> Iterable[ServicePort]:
        """Those of the mesh: no SCTP, and no UDP port beside a TCP port of the same number. Other
        UDP ports are known, but no proxy carries them yet."""
        tcp = {port.port for port in service.spec.ports if port.protocol == "TCP"}
        for port in service.spec.ports:
            if port.protocol == "SCTP" or (port.protocol == "UDP" and port.port in tcp):
                message = f"the {port.protocol} port {port.port} is not part of the mesh"
                self._report.info(service, port.position, "NoEffect", message)
            else:
                if port.protocol == "UDP":
                    message = f"the UDP port {port.port} is not carried by the mesh's proxies"
                    self._report.info(service, port.position, "NoEffect", message)
                protocol = protocols.of_port(service, port, self._report)
                yield ServicePort(port.port, port.name, protocol)

    def _selected(self, service: core.Service, made: Service) -> list[Endpoint]:
        endpoints: list[Endpoint] = []
        for entry in self._workloads.selected(service.namespace, service.spec.selector):
            ports: dict[int, int] = {}
            targets: dict[int, tuple[int, ...]] = {}
            for port in service.spec.ports:
                if (number := self._target(service, port, entry)) is not None:
                    ports[port.port] = number
                    target = port.target_port if port.target_port is not None else port.port
                    targets[port.port] = (target,) if isinstance(target, int) else ()
            if ports:
                attached = Attachment(entry, made, ports, targets)
                self.attachments.append(attached)
                endpoints += self._sidecars.endpoints(attached)
        return endpoints

    def _target(
        self, service: core.Service, port: core.ServicePort, entry: WorkloadEntry
    ) -> int | None:
        """The workload's port behind a service port, by Istio's rule for WorkloadEntries.

        A named targetPort is looked up in spec.ports; a number counts unless spec.ports has the
        service port's name. A sidecar listens at its spec.ports only, so there a lone port stands
        for a lone port and anything else is a mistake that is told."""
        ports = entry.spec.ports
        wanted = port.target_port
        named = isinstance(wanted, str)
        number = ports.get(wanted if isinstance(wanted, str) else port.name)
        if number is not None:
            return number
        if not self._sidecars.has_sidecar(entry) or not ports:
            return None if named else wanted if isinstance(wanted, int) else port.port
        if len(ports) == 1 and len(service.spec.ports) == 1:
            return next(iter(ports.values()))
        name = wanted if isinstance(wanted, str) else port.name or str(port.port)
        message = f"{service.key} needs a port {name!r}, which spec.ports does not have"
        self._report.warning(entry, entry.spec.at("ports"), "UnknownPort", message)
        return None

    # ------------------------------------------------------------------ ServiceEntry

    def add_entry(self, entry: ServiceEntry) -> None:
        for index, host in enumerate(entry.spec.hosts):
            name = host.rstrip(".").lower()
            position = entry.spec.at(f"hosts[{index}]")
            if (first := self.services.get(name)) is not None:
                message = f"the host {name!r} is already a service, from {first.position}"
                self._report.warning(entry, position, "Conflict", message)
                continue
            self.services[name] = self._entry_service(entry, name)

    def _entry_service(self, entry: ServiceEntry, hostname: str) -> Service:
        spec = entry.spec
        made = Service(
            hostname=hostname,
            name=hostname,
            namespace=entry.namespace,
            ports=tuple(
                ServicePort(port.number, port.name, _ENTRY_PROTOCOLS[port.protocol])
                for port in spec.ports
            ),
            addresses=spec.addresses,
            resolution=spec.resolution,
            external=spec.location == "MESH_EXTERNAL",
            position=entry.position,
        )
        if spec.resolution == "NONE":
            return made
        found: list[Endpoint] = []
        for workload in spec.endpoints:
            ports = _entry_ports(spec.ports, workload)
            found.append(self._sidecars.inline(workload, entry.namespace, ports))
        if spec.workload_selector is not None:
            found += self._entry_selected(entry, made)
        elif not found and spec.resolution == "DNS":
            found = [Endpoint(hostname, {p.number: p.target_port or p.number for p in spec.ports})]
        elif not found:
            message = "resolution STATIC without endpoints or workloadSelector reaches nothing"
            self._report.warning(entry, spec.at("resolution"), "SelectsNothing", message)
        return _with_endpoints(made, found)

    def _entry_selected(self, entry: ServiceEntry, made: Service) -> list[Endpoint]:
        selector = entry.spec.workload_selector
        labels = selector.labels if selector is not None else {}
        endpoints: list[Endpoint] = []
        for workload in self._workloads.selected(entry.namespace, labels):
            ports = _entry_ports(entry.spec.ports, workload.spec)
            targets = {p.number: (p.target_port or p.number,) for p in entry.spec.ports}
            attached = Attachment(workload, made, ports, targets)
            self.attachments.append(attached)
            endpoints += self._sidecars.endpoints(attached)
        return endpoints


def _entry_ports(ports: Iterable[EntryPort], workload: Workload) -> dict[int, int]:
    """Istio: the workload's port of that name, else the targetPort, else the same number."""
    return {
        port.number: workload.ports.get(port.name, port.target_port or port.number)
        for port in ports
    }


# --------------------------------------------------------------------------- lists of Kubernetes


def _of_endpoints(service: core.Service, listed: core.Endpoints) -> list[Endpoint]:
    found: list[Endpoint] = []
    for subset in listed.subsets:
        ports = _matched(service, subset.ports)
        found += [Endpoint(address.ip, ports) for address in subset.addresses]
        found += [
            Endpoint(address.ip, ports, health="UNHEALTHY")
            for address in subset.not_ready_addresses
        ]
    return found


def _of_slice(service: core.Service, item: core.EndpointSlice) -> list[Endpoint]:
    """Of an endpoint's addresses only the first is used: Kubernetes calls them fungible."""
    ports = _matched(service, item.ports)
    return [
        Endpoint(
            endpoint.addresses[0],
            ports,
            health=_health(endpoint.conditions),
            locality=("", endpoint.zone, ""),
        )
        for endpoint in item.endpoints
    ]


def _health(conditions: core.EndpointConditions) -> Literal["HEALTHY", "UNHEALTHY", "DRAINING"]:
    if conditions.ready:
        return "HEALTHY"
    return "DRAINING" if conditions.serving and conditions.terminating else "UNHEALTHY"


def _matched(service: core.Service, ports: Iterable[core.EndpointPort]) -> dict[int, int]:
    """Service port -> endpoint port of the same name, Kubernetes' rule."""
    by_name = {port.name: port.port for port in ports}
    return {p.port: by_name[p.name] for p in service.spec.ports if p.name in by_name}


def _with_endpoints(service: Service, endpoints: Iterable[Endpoint]) -> Service:
    """Sorted by address and ports; the first of equal places stays."""
    places: dict[tuple[str, tuple[tuple[int, int], ...]], Endpoint] = {}
    for endpoint in endpoints:
        if endpoint.ports:
            places.setdefault((endpoint.address, tuple(sorted(endpoint.ports.items()))), endpoint)
    return replace(service, endpoints=tuple(places[place] for place in sorted(places)))
