"""What stands beside a workload: identity, sidecar, mTLS of its ports, endpoints made of it.

Annotations of a WorkloadEntry:
  weft.dev/sidecar: "true"              a sidecar listens at address:ports, with mTLS
  weft.dev/app-ports: '{"http": 8080}'  where the application listens, by port name, on 127.0.0.1
  weft.dev/ready: "false"               nobody is to call it yet: its endpoints are unhealthy
Istio's label security.istio.io/tlsMode: istio says the same of an endpoint as weft.dev/sidecar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol as Shape

from controlplane.kinds.service_entry import Workload, WorkloadEntry
from controlplane.mesh.model import Endpoint, TlsMode
from controlplane.translate.index import labels_of
from controlplane.translate.peers import PeerModes
from controlplane.translate.questions import Index
from controlplane.translate.report import Report

SIDECAR = "weft.dev/sidecar"
APP_PORTS = "weft.dev/app-ports"
READY = "weft.dev/ready"
TLS_MODE = "security.istio.io/tlsMode"


class Attached(Shape):
    """A workload entry that serves a service; see services.Attachment."""

    @property
    def entry(self) -> WorkloadEntry: ...
    @property
    def ports(self) -> Mapping[int, int]: ...
    @property
    def targets(self) -> Mapping[int, tuple[int, ...]]: ...


class Sidecars(Index):
    def __init__(self, trust_domain: str, modes: PeerModes, report: Report) -> None:
        self._trust_domain = trust_domain
        self._modes = modes
        self._report = report

    def has_sidecar(self, entry: WorkloadEntry) -> bool:
        if entry.metadata.annotations.get(SIDECAR) == "true":
            return True
        return labels_of(entry).get(TLS_MODE) == "istio"

    def identity(self, namespace: str, service_account: str) -> str:
        return f"spiffe://{self._trust_domain}/ns/{namespace}/sa/{service_account or 'default'}"

    def app_ports(self, entry: WorkloadEntry) -> dict[str, int]:
        """The annotation weft.dev/app-ports; {} when there is none or it is wrong (reported)."""
        value = entry.metadata.annotations.get(APP_PORTS, "")
        if not value:
            return {}
        try:
            ports = json.loads(value)
        except ValueError:
            ports = None
        if isinstance(ports, dict) and all(_is_port(port) for port in ports.values()):
            return ports
        message = f'{APP_PORTS}: expected a JSON object of port numbers, e.g. {{"http": 8080}}'
        position = entry.metadata.at(f"annotations.{APP_PORTS}")
        self._report.error(entry, position, "InvalidField", f"{message}, got {value!r}")
        return {}

    def mode(self, entry: WorkloadEntry, ports: tuple[int, ...]) -> TlsMode:
        """The mTLS mode of a port that policies may know by any of `ports`."""
        default: TlsMode = "STRICT" if self.has_sidecar(entry) else "PERMISSIVE"
        return self._modes.mode(entry.namespace, labels_of(entry), ports, default)

    def intercepted(self, entry: WorkloadEntry, ports: tuple[int, ...]) -> TlsMode:
        """The same where connections are intercepted: as in Istio, what nobody says is PERMISSIVE.
        No ports: what holds for those that no policy names."""
        return self._modes.mode(entry.namespace, labels_of(entry), ports, "PERMISSIVE")

    def port_modes(self, entry: WorkloadEntry) -> Mapping[int, TlsMode]:
        """Of the ports that the workload's own policy names."""
        return self._modes.ports(entry.namespace, labels_of(entry))

    def port_numbers(
        self, entry: WorkloadEntry, number: int, targets: tuple[int, ...]
    ) -> tuple[int, ...]:
        """All numbers that stand for the workload's port `number`: its own, the app's, targets."""
        apps = self.app_ports(entry)
        names = [name for name, port in entry.spec.ports.items() if port == number]
        named = (apps[name] for name in names if name in apps)
        return tuple(dict.fromkeys((number, *named, *targets)))

    def endpoints(self, attached: Attached) -> list[Endpoint]:
        """One endpoint, or two where some of the ports take mTLS and others (DISABLE) do not."""
        entry = attached.entry
        secured: dict[int, int] = {}
        plain: dict[int, int] = {}
        for service_port, number in attached.ports.items():
            known = self.port_numbers(entry, number, attached.targets.get(service_port, ()))
            mesh = self.has_sidecar(entry) and self.mode(entry, known) != "DISABLE"
            (secured if mesh else plain)[service_port] = number
        found = [
            self._endpoint(entry.spec, entry.namespace, labels_of(entry), ports, mesh, entry.name)
            for ports, mesh in ((secured, True), (plain, False))
            if ports
        ]
        if entry.metadata.annotations.get(READY) == "false":
            return [replace(endpoint, health="UNHEALTHY") for endpoint in found]
        return found

    def inline(self, workload: Workload, namespace: str, ports: Mapping[int, int]) -> Endpoint:
        """An endpoint written inside a ServiceEntry."""
        mesh = workload.labels.get(TLS_MODE) == "istio"
        return self._endpoint(workload, namespace, workload.labels, ports, mesh, "")

    def _endpoint(
        self,
        spec: Workload,
        namespace: str,
        labels: Mapping[str, str],
        ports: Mapping[int, int],
        mesh: bool,
        name: str,
    ) -> Endpoint:
        known = mesh or bool(spec.service_account)
        return Endpoint(
            address=spec.address,
            ports=ports,
            labels=dict(sorted(labels.items())),
            identity=self.identity(namespace, spec.service_account) if known else "",
            mesh=mesh,
            weight=max(1, spec.weight),
            locality=locality(spec.locality),
            workload=f"{namespace}/{name}" if name else "",
        )


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def locality(text: str) -> tuple[str, str, str]:
    """Istio's 'region/zone/subzone', the end may be missing."""
    region, zone, subzone = [*text.split("/", 2), "", ""][:3]
    return region, zone, subzone
