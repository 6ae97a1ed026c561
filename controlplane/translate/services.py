"""Kubernetes Services and ServiceEntries -> services of the mesh with their endpoints.

A Service selects WorkloadEntries of its namespace by label, as it selects pods, which mostly
EndpointSlices list (listed). Policies and rules are added later (policies, routes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from controlplane.kinds import core
from controlplane.kinds.export_to import export_faults, namespaces_of
from controlplane.kinds.objects import Object
from controlplane.kinds.pod import Pod
from controlplane.kinds.service_entry import EntryPort, ServiceEntry, Workload, WorkloadEntry
from controlplane.mesh.model import Endpoint, Protocol, Service, ServicePort
from controlplane.mesh.networks import LABEL as NETWORK
from controlplane.mesh.networks import Networks
from controlplane.translate import listed, protocols
from controlplane.translate.groups import Groups
from controlplane.translate.index import (
    DOMAIN,
    EndpointList,
    Listed,
    Workloads,
    age,
    hostname_of,
    key_of,
)
from controlplane.translate.memo import Each
from controlplane.translate.pods.residents import Residents
from controlplane.translate.report import Report
from controlplane.translate.sidecars import Sidecars
from protos.frozen import frozen, replace

EXPORT_TO = "networking.istio.io/exportTo"
FIXED_PORTS = "experimental.istio.io/disable-gateway-port-translation"
"""Istio's label."""

DISTRIBUTION = "networking.istio.io/traffic-distribution"
_SAME_ZONE = ("PreferSameZone", "PreferClose")

ENTRY_PROTOCOLS: dict[str, Protocol] = {
    "HTTP": "HTTP",
    "HTTPS": "HTTPS",
    "GRPC": "GRPC",
    "GRPC-WEB": "HTTP",
    "HTTP2": "HTTP2",
    "MONGO": "MONGO",
    "TCP": "TCP",
    "TLS": "TLS",
    "HTTP_PROXY": "HTTP",
    "MYSQL": "TCP",
    "REDIS": "TCP",
    "UDP": "UDP",
}


@frozen
class ServedPort:
    """A workload's port behind the port of a service. targets: numbers under which policies may
    know it. assumed: as of a mesh ServicePort. name: of the service's port."""

    number: int
    service_port: int
    protocol: Protocol | None
    targets: tuple[int, ...]
    assumed: bool = False
    name: str = ""


@frozen
class Attachment:
    """A workload, by namespace and name, serves the service of that hostname."""

    workload: tuple[str, str]
    hostname: str
    ports: tuple[ServedPort, ...]


@frozen
class Reached:
    """Where a service is reached."""

    endpoints: tuple[Endpoint, ...] = ()
    attachments: tuple[Attachment, ...] = ()


Named = tuple[Service, core.Service | ServiceEntry]
"""A service, as yet without endpoints, and the object that it is made of."""


def named(
    each: Each,
    services: Sequence[core.Service],
    entries: Iterable[ServiceEntry],
    exports: tuple[str, ...],
    report: Report,
) -> tuple[Named, ...]:
    """Sorted by hostname, each hostname once: of the Service, or of the oldest ServiceEntry.
    exports: to whom one is shown that doesn't say it."""
    found: dict[str, Named] = {}
    plain = each("services", key_of, _plain, (services,), (exports, report))
    for made, service in zip(plain, services, strict=True):
        found[made.hostname] = (made, service)
    oldest_first = sorted(entries, key=age)
    of_entries = each("entries", key_of, _of_entry, (oldest_first,), (exports, report))
    for entry, hosts in zip(oldest_first, of_entries, strict=True):
        for index, made in enumerate(hosts):
            first, _ = found.setdefault(made.hostname, (made, entry))
            if first is not made:
                message = f"the host {made.hostname!r} is already a service, from {first.position}"
                report.warning(entry, entry.spec.at(f"hosts[{index}]"), "Conflict", message)
    return tuple(found[name] for name in sorted(found))


def alone(services: Iterable[Named]) -> tuple[Service, ...]:
    """Without the objects that they are made of."""
    return tuple(service for service, _ in services)


def reached(
    each: Each,
    services: Sequence[Named],
    known: tuple[Workloads, Residents],
    lists: Listed,
    sidecars: Sidecars,
    joining: Networks,
    report: Report,
) -> tuple[Reached, ...]:
    """In the order of the services. known: what may be selected, WorkloadEntries and pods."""
    finder = _Finder(*known, sidecars, joining, report)
    made, objects = [service for service, _ in services], [of for _, of in services]
    rows = made, objects, lists.of_all(objects)
    return each("places", hostname_of, partial(_find, finder), rows, (joining,))


def _find(
    finder: _Finder,
    made: Service,
    of: core.Service | ServiceEntry,
    lists: tuple[EndpointList, ...],
    _: Networks,
) -> Reached:
    """The finder knows the networks, by which all of it may be different."""
    return finder.find(made, of, lists)


Attached = Groups[tuple[str, str], Reached]
"""Namespace and name of a workload -> where services are reached that have it."""


def attached(last: Attached | None, places: tuple[Reached, ...]) -> Attached:
    return (last or Groups()).following(places, _workloads_of)


def _workloads_of(place: Reached) -> Iterable[tuple[str, str]]:
    return [attachment.workload for attachment in place.attachments]


def joined(
    each: Each, services: Sequence[Service], places: Iterable[Reached], joining: Networks
) -> tuple[Service, ...]:
    """The services with their endpoints."""
    found = [place.endpoints for place in places]
    return each("services", hostname_of, _with_endpoints, (services, found), (joining,))


def _with_endpoints(
    service: Service, endpoints: tuple[Endpoint, ...], joining: Networks
) -> Service:
    if not joining.gateways:
        return replace(service, endpoints=endpoints)
    there = sorted({one.network for one in endpoints} - {""})
    gateways = tuple(gateway for network in there for gateway in joining.of(network))
    return replace(service, endpoints=endpoints, gateways=gateways)


# --------------------------------------------------------------------------- names and ports


def _plain(service: core.Service, exports: tuple[str, ...], report: Report) -> Service:
    spec = service.spec
    base = f"{service.name}.{service.namespace}"
    external = spec.type == "ExternalName"
    return Service(
        hostname=f"{base}.svc.{DOMAIN}",
        name=service.name,
        namespace=service.namespace,
        ports=tuple(_ports(service, report)),
        aliases=(base, f"{base}.svc"),
        local_aliases=(service.name,),
        addresses=spec.addresses,
        resolution="DNS" if external else "STATIC",
        external=external,
        headless=spec.cluster_ip == "None" and not external,
        fixed_ports=_has_fixed_ports(service),
        keeps_close=_keeps_close(service, spec.traffic_distribution, report),
        visible_in=_exported(service, exports, report),
        position=service.position,
    )


def _keeps_close(of: core.Service | ServiceEntry, said: str, report: Report) -> bool:
    """said: by its spec, which comes before the annotation."""
    word = said or of.metadata.annotations.get(DISTRIBUTION, "")
    if word == "PreferSameNode":
        message = "PreferSameNode: the zone is looked at, and not the node"
        report.info(of, of.position, "NoEffect", message)
    elif word and word not in _SAME_ZONE:
        message = f"trafficDistribution {word!r} is not known: requests go to all endpoints"
        report.warning(of, of.position, "NoEffect", message)
    return word == "PreferSameNode" or word in _SAME_ZONE


def _has_fixed_ports(of: core.Service | ServiceEntry) -> bool:
    return of.metadata.labels.get(FIXED_PORTS) == "true"


def _exported(
    service: core.Service, exports: tuple[str, ...], report: Report
) -> tuple[str, ...] | None:
    """Istio's annotation: exportTo of a Service, comma-separated."""
    value = service.metadata.annotations.get(EXPORT_TO, "")
    words = tuple(word.strip() for word in value.split(",") if word.strip())
    for _, fault in export_faults(words, nobody=True):
        position = service.metadata.at(f"annotations.{EXPORT_TO}")
        report.error(service, position, "InvalidField", f"annotation {EXPORT_TO}: {fault}")
        return None
    return namespaces_of(words or exports, service.namespace)


def _ports(service: core.Service, report: Report) -> Iterable[ServicePort]:
    """Those of the mesh: no SCTP, and no UDP port beside a TCP port of the same number. Other
    UDP ports are known, but no proxy carries them yet."""
    tcp = {port.port for port in service.spec.ports if port.protocol == "TCP"}
    for port in service.spec.ports:
        if port.protocol == "SCTP" or (port.protocol == "UDP" and port.port in tcp):
            message = f"the {port.protocol} port {port.port} is not part of the mesh"
            report.info(service, port.position, "NoEffect", message)
        else:
            if port.protocol == "UDP":
                message = f"the UDP port {port.port} is not carried by the mesh's proxies"
                report.info(service, port.position, "NoEffect", message)
            spoken = protocols.of_port(service, port, report)
            yield ServicePort(port.port, port.name, spoken, protocols.is_assumed(port))


def _entry_port(port: EntryPort) -> ServicePort:
    """Where none is given the port's name tells; Istio looks at the first bytes."""
    spoken = protocols.of_name(port.name)
    if port.protocol:
        spoken = ENTRY_PROTOCOLS[port.protocol]
    return ServicePort(port.number, port.name, spoken or "TCP", spoken is None)


def _of_entry(entry: ServiceEntry, exports: tuple[str, ...], report: Report) -> tuple[Service, ...]:
    """One for each host, in their order."""
    spec = entry.spec
    ports = tuple(map(_entry_port, spec.ports))
    names = [host.rstrip(".").lower() for host in spec.hosts]
    close = _keeps_close(entry, "", report)
    return tuple(
        Service(
            hostname=name,
            name=name,
            namespace=entry.namespace,
            ports=ports,
            addresses=spec.addresses,
            resolution=spec.resolution,
            external=spec.location == "MESH_EXTERNAL",
            fixed_ports=_has_fixed_ports(entry),
            keeps_close=close,
            subject_alt_names=spec.subject_alt_names,
            visible_in=namespaces_of(spec.export_to or exports, entry.namespace),
            position=entry.position,
        )
        for name in names
    )


# --------------------------------------------------------------------------- endpoints


@frozen
class _Selected:
    """A workload entry serves a service. ports: service port -> workload's port."""

    entry: WorkloadEntry
    ports: Mapping[int, int]
    targets: Mapping[int, tuple[int, ...]]

    def attachment(self, service: Service) -> Attachment:
        return attachment(self.entry, service, self.ports, self.targets)


def attachment(
    of: Object,
    service: Service,
    ports: Mapping[int, int],
    targets: Mapping[int, tuple[int, ...]],
) -> Attachment:
    """of: a workload. ports: the service's -> the workload's."""
    known = {port.number: port for port in service.ports}
    served = tuple(
        ServedPort(
            number,
            port,
            known[port].protocol if port in known else None,
            targets.get(port, ()),
            port in known and known[port].assumed,
            known[port].name if port in known else "",
        )
        for port, number in ports.items()
    )
    return Attachment((of.namespace, of.name), service.hostname, served)


class _Finder:
    """Finds the endpoints of one service after the other."""

    def __init__(
        self,
        workloads: Workloads,
        residents: Residents,
        sidecars: Sidecars,
        joining: Networks,
        report: Report,
    ) -> None:
        self._workloads = workloads
        self._residents = residents
        self._sidecars = sidecars
        self._joining = joining
        self._report = report

    def find(
        self, service: Service, of: core.Service | ServiceEntry, lists: tuple[EndpointList, ...]
    ) -> Reached:
        """lists: what Kubernetes lists for a Service of that name."""
        if isinstance(of, ServiceEntry):
            return self._of_entry(service, of)
        return self._of_service(service, of, lists)

    def _of_service(
        self, made: Service, service: core.Service, lists: Sequence[EndpointList]
    ) -> Reached:
        if service.spec.type == "ExternalName":
            ports = {port.number: port.number for port in made.ports}
            return _reached([Endpoint(service.spec.external_name, ports)])
        selected = tuple(self._selected(service))
        found = [endpoint for one in selected for endpoint in self._placed(one)]
        found += listed.of_service(service, lists, self._residents, self._report)
        return _reached(found, (one.attachment(made) for one in selected))

    def _selected(self, service: core.Service) -> Iterable[_Selected]:
        for entry in self._workloads.selected(service.namespace, service.spec.selector):
            if self._is_far(entry, entry.spec):
                continue
            ports: dict[int, int] = {}
            targets: dict[int, tuple[int, ...]] = {}
            for port in service.spec.ports:
                if (number := self._target(service, port, entry)) is not None:
                    ports[port.port] = number
                    target = port.target_port if port.target_port is not None else port.port
                    targets[port.port] = (target,) if isinstance(target, int) else ()
            if ports:
                yield _Selected(entry, ports, targets)

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

    def _of_entry(self, made: Service, entry: ServiceEntry) -> Reached:
        spec = entry.spec
        if spec.resolution in ("NONE", "DYNAMIC_DNS"):
            if spec.workload_selector is not None:
                message = f"workloadSelector has no effect with resolution {spec.resolution}"
                self._report.warning(entry, spec.at("workloadSelector"), "NoEffect", message)
            return Reached()
        found: list[Endpoint] = []
        beside: list[Attachment] = []
        for workload in spec.endpoints:
            if self._is_far(entry, workload):
                continue
            ports = entry_ports(spec.ports, workload)
            one = self._sidecars.inline(workload, entry.namespace, ports)
            found.append(self._joined(entry, workload, one, spec.location == "MESH_EXTERNAL"))
            there = self._workloads.at(workload.address)
            beside += [attachment(each, made, ports, {}) for each in there]
        if spec.workload_selector is not None:
            return self._of_selector(made, entry, spec.workload_selector.labels, found)
        if not found and spec.resolution.startswith("DNS"):
            ports = {p.number: p.target_port or p.number for p in spec.ports}
            found = [Endpoint(made.hostname, ports)]
        elif not found:
            message = "resolution STATIC without endpoints or workloadSelector reaches nothing"
            self._report.warning(entry, spec.at("resolution"), "SelectsNothing", message)
        return _reached(found, beside)

    def _is_far(self, of: ServiceEntry | WorkloadEntry, workload: Workload) -> bool:
        """Whether it is behind a gateway that nobody knows. Where there is an address it is asked
        there, then (Istio)."""
        if not workload.network or self._joining.of(workload.network):
            return False
        known = "no gateway is known of the network " + repr(workload.network)
        if workload.address:
            message = f"{known}: it is asked at its own address from everywhere"
            self._report.info(of, workload.at("network"), "NoEffect", message)
            return False
        message = (
            f"without an address it is never asked, as {known}: name one in meshNetworks of the "
            f"mesh's ConfigMap, or give its Service the label {NETWORK}"
        )
        self._report.warning(of, workload.position, "NoGateway", message)
        return True

    def _placed(self, one: _Selected) -> Iterator[Endpoint]:
        for endpoint in self._sidecars.endpoints(one):
            yield self._joined(one.entry, one.entry.spec, endpoint, False)

    def _joined(
        self, of: ServiceEntry | WorkloadEntry, workload: Workload, endpoint: Endpoint, out: bool
    ) -> Endpoint:
        """With its network. out: it is no part of the mesh, and in a network only if it says so."""
        network = workload.network
        if not network and not out:
            network = self._joining.at(workload.address, endpoint.labels)
        if not network:
            return endpoint
        if self._joining.of(network) and not endpoint.mesh:
            message = f"from other networks than {network!r} it is not asked: it has no sidecar"
            self._report.info(of, workload.at("network"), "NotSupported", message)
        return replace(endpoint, network=network)

    def _of_selector(
        self, made: Service, entry: ServiceEntry, labels: Mapping[str, str], found: list[Endpoint]
    ) -> Reached:
        targets = {p.number: (p.target_port or p.number,) for p in entry.spec.ports}
        selected = [
            _Selected(workload, entry_ports(entry.spec.ports, workload.spec), targets)
            for workload in self._workloads.selected(entry.namespace, labels)
            if not self._is_far(workload, workload.spec)
        ]
        for one in selected:
            found += self._placed(one)
        for pod in self._residents.selected(entry.namespace, labels):
            ports = {port.number: entry_target(port, pod.pod) for port in entry.spec.ports}
            found += pod.endpoints(pod.pod.addresses[0], ports, pod.health)
        return _reached(found, (one.attachment(made) for one in selected))


def entry_target(port: EntryPort, pod: Pod) -> int:
    """The pod's port behind a ServiceEntry's: of its name, else the targetPort, else its number."""
    return pod.port(port.name, "TCP") or port.target_port or port.number


def entry_ports(ports: Iterable[EntryPort], workload: Workload) -> dict[int, int]:
    """Istio: the workload's port of that name, else the targetPort, else the same number."""
    return {
        port.number: workload.ports.get(port.name, port.target_port or port.number)
        for port in ports
    }


def _reached(endpoints: Iterable[Endpoint], attachments: Iterable[Attachment] = ()) -> Reached:
    """Sorted by address and ports; the first of equal places stays. Networks may have addresses in
    common, and what has none is somewhere else than anything."""
    places: dict[tuple[str, tuple[tuple[int, int], ...], str, int], Endpoint] = {}
    for index, endpoint in enumerate(endpoints):
        if endpoint.ports:
            ports, apart = tuple(sorted(endpoint.ports.items())), 0 if endpoint.address else index
            places.setdefault((endpoint.address, ports, endpoint.network, apart), endpoint)
    return Reached(tuple(places[place] for place in sorted(places)), tuple(attachments))
