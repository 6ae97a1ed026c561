"""WorkloadEntries -> workloads with the ports at which their sidecars take requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from controlplane.kinds.service_entry import WorkloadEntry
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import InboundPort, Protocol, TlsMode, Workload
from controlplane.mesh.networks import Networks
from controlplane.translate import protocols
from controlplane.translate.index import key_of, labels_of
from controlplane.translate.memo import Each
from controlplane.translate.report import Report
from controlplane.translate.services import Attached, Attachment, Reached, ServedPort
from controlplane.translate.sidecars import APP_PORTS, Sidecars, locality


@dataclass(slots=True)
class _Served:
    """What the services say of one port of a workload."""

    service_port: int | None = None
    protocol: Protocol | None = None
    assumed: bool = False
    hostnames: set[str] = field(default_factory=set)
    targets: list[int] = field(default_factory=list)
    name: str = ""


def build(
    each: Each,
    entries: Sequence[WorkloadEntry],
    attached: Attached,
    sidecars: Sidecars,
    joining: Networks,
    report: Report,
) -> tuple[Workload, ...]:
    """Sorted by namespace and name."""
    make = partial(_workload, sidecars, report)
    places = [attached.of(key_of(entry)) for entry in entries]
    made = each("workloads", key_of, make, (entries, places), (joining,))
    return tuple(sorted(made, key=lambda workload: (workload.namespace, workload.name)))


def _served(attachments: Iterable[Attachment]) -> dict[int, _Served]:
    ports: dict[int, _Served] = {}
    for attached in attachments:
        for port in attached.ports:
            if port.protocol is not None:
                _collect(ports.setdefault(port.number, _Served()), port, attached.hostname)
    return ports


def _collect(known: _Served, port: ServedPort, hostname: str) -> None:
    if known.service_port is None:
        known.service_port = port.service_port
        known.protocol = port.protocol
        known.assumed = port.assumed
        known.name = port.name
    known.hostnames.add(hostname)
    known.targets += port.targets


def captured(
    attachments: Iterable[Attachment], mode: Callable[[tuple[int, ...]], TlsMode]
) -> tuple[InboundPort, ...]:
    """The ports that services have at a workload, sorted, for a sidecar that intercepts their
    connections. mode: of a port that policies may know by any of these numbers."""
    served = _served(map(_over_tcp, attachments))
    ports = []
    for number in sorted(served):
        known = served[number]
        numbers = tuple(dict.fromkeys((number, *known.targets)))
        ports.append(
            InboundPort(
                listen_address="",
                listen_port=number,
                app_address="",
                app_port=number,
                protocol=known.protocol or "TCP",
                mtls=mode(numbers),
                hostnames=tuple(sorted(known.hostnames)),
                service_port=known.service_port,
                numbers=numbers,
                assumed=known.assumed,
                name=known.name,
            )
        )
    return tuple(ports)


def _over_tcp(attached: Attachment) -> Attachment:
    ports = tuple(port for port in attached.ports if port.protocol != "UDP")
    return replace(attached, ports=ports)


def _workload(
    sidecars: Sidecars,
    report: Report,
    entry: WorkloadEntry,
    places: tuple[Reached, ...],
    joining: Networks,
) -> Workload:
    key, every = key_of(entry), (one for place in places for one in place.attachments)
    attachments = [one for one in every if one.workload == key]
    spec, served = entry.spec, _served(attachments)
    modes = partial(sidecars.intercepted, entry)
    return Workload(
        name=entry.name,
        namespace=entry.namespace,
        service_account=spec.service_account or "default",
        labels=dict(sorted(labels_of(entry).items())),
        address=spec.address,
        inbound=tuple(_inbound(entry, served, sidecars, report)),
        captured=captured(attachments, modes),
        mtls=modes(()),
        port_mtls=sidecars.port_modes(entry),
        locality=locality(spec.locality),
        network=spec.network or joining.at(spec.address, labels_of(entry)),
        position=entry.position,
    )


def _inbound(
    entry: WorkloadEntry, served: dict[int, _Served], sidecars: Sidecars, report: Report
) -> Iterable[InboundPort]:
    """One for each port whose application's port is known, sorted by listen port."""
    apps = sidecars.app_ports(entry)
    if apps and not is_ip(entry.spec.address):
        message = f"spec.address: a sidecar listens at an IP address, not {entry.spec.address!r}"
        report.error(entry, entry.spec.at("address"), "InvalidField", message)
        return
    for name in sorted(apps.keys() - entry.spec.ports.keys()):
        position = entry.metadata.at(f"annotations.{APP_PORTS}")
        message = f"{APP_PORTS} names the port {name!r}, which spec.ports does not have"
        report.error(entry, position, "UnknownPort", message)
    for name, number in sorted(entry.spec.ports.items(), key=lambda item: (item[1], item[0])):
        if name not in apps:
            continue
        known = served.get(number, _Served())
        numbers = sidecars.port_numbers(entry, number, tuple(known.targets))
        yield InboundPort(
            listen_address=entry.spec.address,
            listen_port=number,
            app_address="127.0.0.1",
            app_port=apps[name],
            protocol=known.protocol or protocols.of_name(name) or "HTTP",
            mtls=sidecars.mode(entry, numbers),
            name=name,
            hostnames=tuple(sorted(known.hostnames)),
            service_port=known.service_port,
            numbers=numbers,
        )
