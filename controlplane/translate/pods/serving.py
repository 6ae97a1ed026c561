"""Which services have ports at a pod: those whose selector takes it, and those without a selector
whose lists name it, and ServiceEntries with an endpoint at its address (Istio's rules for the
inbound side of a sidecar)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from controlplane.kinds import core
from controlplane.kinds.pod import Pod
from controlplane.kinds.service_entry import ServiceEntry
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import Service
from controlplane.translate.index import Listed, selects
from controlplane.translate.listed import matched, target
from controlplane.translate.pods.table import Name
from controlplane.translate.services import (
    Attachment,
    Named,
    attachment,
    entry_ports,
    entry_target,
)

Placed = Mapping[Name, tuple[tuple[Service, tuple[tuple[int, int], ...]], ...]]
"""Name or address of a pod -> services, with pairs of their ports and its."""


def placed(named: Iterable[Named], listed: Listed) -> Placed:
    """What lists of Services without a selector say, and endpoints inside of ServiceEntries."""
    found: dict[Name, list[tuple[Service, tuple[tuple[int, int], ...]]]] = defaultdict(list)
    for made, of in named:
        if isinstance(of, ServiceEntry):
            there: Iterable[tuple[Name, dict[int, int]]] = _inline(of)
        elif of.spec.selector or made.external:
            continue
        else:
            lists = listed.of(of.namespace, of.name)
            there = (pair for item in lists for pair in _names(of, item))
        for name, ports in there:
            found[name].append((made, tuple(ports.items())))
    return {name: tuple(services) for name, services in found.items()}


def _inline(entry: ServiceEntry) -> Iterator[tuple[Name, dict[int, int]]]:
    for workload in entry.spec.endpoints:
        if is_ip(workload.address):
            yield ("", workload.address), entry_ports(entry.spec.ports, workload)


def _names(
    service: core.Service, item: core.Endpoints | core.EndpointSlice
) -> Iterator[tuple[Name, dict[int, int]]]:
    if isinstance(item, core.EndpointSlice):
        ports = matched(service, item.ports)
        for one in item.endpoints:
            yield one.pod if one.pod != core.NO_POD else ("", one.addresses[0]), ports
        return
    for subset in item.subsets:
        ports = matched(service, subset.ports)
        for there in (*subset.addresses, *subset.not_ready_addresses):
            yield there.pod if there.pod != core.NO_POD else ("", there.ip), ports


class Serving:
    __slots__ = ("_by_label", "_placed")

    def __init__(self, named: Iterable[Named], placed: Placed) -> None:
        self._placed = placed
        self._by_label: dict[tuple[str, str, str], list[Named]] = defaultdict(list)
        for made, of in named:
            selector = selector_of(of)
            if selector and not made.external:
                self._by_label[(of.namespace, *min(selector.items()))].append((made, of))

    def of(self, pod: Pod) -> tuple[Attachment, ...]:
        """Sorted by the services' names."""
        found: dict[str, Attachment] = {}
        labels = pod.metadata.labels
        for label in labels.items():
            for made, of in self._by_label.get((pod.namespace, *label), ()):
                if selects(selector_of(of), labels):
                    found[made.hostname] = _attached(pod, made, of)
        names = ((pod.namespace, pod.name), *(("", address) for address in pod.addresses))
        for name in names:
            for made, ports in self._placed.get(name, ()):
                found.setdefault(made.hostname, attachment(pod, made, dict(ports), {}))
        return tuple(found[hostname] for hostname in sorted(found))


def selector_of(of: core.Service | ServiceEntry) -> Mapping[str, str]:
    if isinstance(of, ServiceEntry):
        chosen = of.spec.workload_selector
        return chosen.labels if chosen is not None else {}
    return of.spec.selector


def _attached(pod: Pod, made: Service, of: core.Service | ServiceEntry) -> Attachment:
    if isinstance(of, ServiceEntry):
        ports = {port.number: entry_target(port, pod) for port in of.spec.ports}
    else:
        targets = ((port.port, target(port, pod)) for port in of.spec.ports)
        ports = {port: number for port, number in targets if number is not None}
    return attachment(pod, made, ports, {})
