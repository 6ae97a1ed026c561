"""WorkloadEntries -> workloads with the ports at which their sidecars take requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.kinds.decoders import is_ip
from controlplane.kinds.service_entry import WorkloadEntry
from controlplane.mesh.model import InboundPort, Protocol, Workload
from controlplane.translate import protocols
from controlplane.translate.index import labels_of
from controlplane.translate.report import Report
from controlplane.translate.services import Attachment
from controlplane.translate.sidecars import APP_PORTS, Sidecars


@dataclass(slots=True)
class _Served:
    """What the services say of one port of a workload."""

    service_port: int | None = None
    protocol: Protocol | None = None
    hostnames: set[str] = field(default_factory=set)
    targets: list[int] = field(default_factory=list)


def build(
    entries: Iterable[WorkloadEntry],
    attachments: Iterable[Attachment],
    sidecars: Sidecars,
    report: Report,
) -> tuple[Workload, ...]:
    """Sorted by namespace and name."""
    served: dict[tuple[str, str], dict[int, _Served]] = defaultdict(dict)
    for attached in attachments:
        _collect(served[attached.entry.namespace, attached.entry.name], attached)
    made = [
        _workload(entry, served[entry.namespace, entry.name], sidecars, report) for entry in entries
    ]
    return tuple(sorted(made, key=lambda workload: (workload.namespace, workload.name)))


def _collect(ports: dict[int, _Served], attached: Attachment) -> None:
    protocols_by_port = {port.number: port.protocol for port in attached.service.ports}
    for service_port, number in attached.ports.items():
        if service_port not in protocols_by_port:
            continue
        known = ports.setdefault(number, _Served())
        if known.service_port is None:
            known.service_port = service_port
            known.protocol = protocols_by_port[service_port]
        known.hostnames.add(attached.service.hostname)
        known.targets += attached.targets.get(service_port, ())


def _workload(
    entry: WorkloadEntry, served: dict[int, _Served], sidecars: Sidecars, report: Report
) -> Workload:
    spec = entry.spec
    return Workload(
        name=entry.name,
        namespace=entry.namespace,
        service_account=spec.service_account or "default",
        labels=dict(sorted(labels_of(entry).items())),
        address=spec.address,
        inbound=tuple(_inbound(entry, served, sidecars, report)),
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
