"""Where a Service of Kubernetes is reached: at what its EndpointSlices list, else at what its
Endpoints list, else at the pods that it selects.

Who stands at an address (labels, identity, place, sidecar) is known by the pod that the list names,
or else by the address. A pod that is listed for both families of addresses is one endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from controlplane.kinds import core
from controlplane.kinds.pod import Pod
from controlplane.mesh.model import Endpoint
from controlplane.translate.index import EndpointList
from controlplane.translate.pods.residents import Resident, Residents
from controlplane.translate.pods.table import Name
from controlplane.translate.report import Report
from protos.frozen import frozen

Health = Literal["HEALTHY", "UNHEALTHY", "DRAINING"]


@frozen
class _Entry:
    """One line of a list. more: addresses of the same pod in another family."""

    address: str
    name: Name
    ports: Mapping[int, int]
    health: Health = "HEALTHY"
    zone: str = ""
    node: str = ""
    more: tuple[str, ...] = ()


def of_service(
    service: core.Service, lists: Sequence[EndpointList], residents: Residents, report: Report
) -> list[Endpoint]:
    """lists: what there is of the Service's name."""
    slices = [one for one in lists if isinstance(one, core.EndpointSlice)]
    listed = [one for one in lists if isinstance(one, core.Endpoints)]
    if slices:
        entries = _joined(
            entry for one in _in_order(service, slices) for entry in _lines(service, one)
        )
    elif listed:
        entries = [entry for one in listed for entry in _addresses(service, one)]
    else:
        return list(_selected(service, residents, report))
    there = residents.at(tuple(entry.name for entry in entries))
    pairs = zip(entries, there, strict=True)
    return [made for entry, pod in pairs for made in _endpoints(entry, pod, residents)]


def _endpoints(entry: _Entry, pod: Resident | None, residents: Residents) -> Iterable[Endpoint]:
    zoned = ("", entry.zone, "")
    if pod is None:
        place = residents.place_of(entry.node) if entry.node else zoned
        place = place if any(place) else zoned
        yield Endpoint(
            entry.address,
            entry.ports,
            health=entry.health,
            locality=place,
            more_addresses=entry.more,
            network=residents.network_of(entry.address),
        )
        return
    health = entry.health
    if health == "HEALTHY" and pod.pod.is_leaving:
        health = "DRAINING"
    for made in pod.endpoints(entry.address, entry.ports, health, entry.more):
        yield made if any(made.locality) else replace(made, locality=zoned)


# --------------------------------------------------------------------------- lists


def _in_order(
    service: core.Service, slices: Sequence[core.EndpointSlice]
) -> list[core.EndpointSlice]:
    """Those of the Service's first family first: IPv4 where nothing is said."""
    first = service.spec.ip_families[0] if service.spec.ip_families else "IPv4"
    return sorted(slices, key=lambda one: one.address_type != first)


def _lines(service: core.Service, item: core.EndpointSlice) -> Iterator[_Entry]:
    """Of an endpoint's addresses only the first is used: Kubernetes calls them fungible."""
    ports = matched(service, item.ports)
    for endpoint in item.endpoints:
        address = endpoint.addresses[0]
        health = _health(endpoint.conditions)
        name = _name(endpoint.pod, address)
        yield _Entry(address, name, ports, health, endpoint.zone, endpoint.node_name)


def _name(pod: core.PodName, address: str) -> Name:
    return pod if pod != core.NO_POD else ("", address)


def _joined(entries: Iterable[_Entry]) -> list[_Entry]:
    """A pod's second address goes with its first."""
    found: dict[tuple[object, ...], _Entry] = {}
    for entry in entries:
        pod, ports = entry.name if entry.name[0] else entry.address, tuple(entry.ports.items())
        first = found.setdefault((pod, ports), entry)
        if (":" in first.address) != (":" in entry.address):
            found[pod, ports] = replace(first, more=(*first.more, entry.address))
        elif first is not entry:
            found[entry.address, ports] = entry
    return list(found.values())


def _addresses(service: core.Service, item: core.Endpoints) -> Iterator[_Entry]:
    for subset in item.subsets:
        ports = matched(service, subset.ports)
        states: tuple[tuple[Health, tuple[core.EndpointAddress, ...]], ...] = (
            ("HEALTHY", subset.addresses),
            ("UNHEALTHY", subset.not_ready_addresses),
        )
        for health, places in states:
            for one in places:
                yield _Entry(one.ip, _name(one.pod, one.ip), ports, health, node=one.node_name)


def _health(conditions: core.EndpointConditions) -> Health:
    if conditions.ready:
        return "HEALTHY"
    return "DRAINING" if conditions.serving and conditions.terminating else "UNHEALTHY"


def matched(service: core.Service, ports: Iterable[core.EndpointPort]) -> dict[int, int]:
    """Service port -> endpoint port of the same name, Kubernetes' rule."""
    by_name = {port.name: port.port for port in ports}
    return {p.port: by_name[p.name] for p in service.spec.ports if p.name in by_name}


# --------------------------------------------------------------------------- pods by their labels


def _selected(service: core.Service, residents: Residents, report: Report) -> Iterator[Endpoint]:
    """As Kubernetes' controller would list them, where nobody has."""
    lacking: dict[str, str] = {}
    for one in residents.selected(service.namespace, service.spec.selector):
        ports = {}
        for port in service.spec.ports:
            if (number := target(port, one.pod)) is not None:
                ports[port.port] = number
            else:
                lacking.setdefault(str(port.target_port), one.pod.name)
        address, *more = _families(service, one.pod.addresses)
        ready = service.spec.publish_not_ready_addresses
        yield from one.endpoints(address, ports, "HEALTHY" if ready else one.health, tuple(more))
    for name, pod in lacking.items():
        message = f"targetPort {name!r}: the pod {pod} has no container port of that name"
        report.warning(service, service.spec.at("ports"), "UnknownPort", message)


def target(port: core.ServicePort, pod: Pod) -> int | None:
    """The pod's port behind the service's; None for a name that no container port has."""
    wanted = port.target_port
    if isinstance(wanted, str):
        return pod.port(wanted, port.protocol)
    return port.port if wanted is None else wanted


def _families(service: core.Service, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the Service's families, in their order; without a word of it the pod's first."""
    wanted = service.spec.ip_families
    if not wanted:
        return addresses[:1]
    found = [one for family in wanted for one in addresses if (":" in one) == (family == "IPv6")]
    return tuple(found) or addresses[:1]
