"""Who is meant by the names on the command line: workloads, services, Deployments, identities."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import field

from controlplane.inventory import Snapshot
from controlplane.kinds import core
from controlplane.kinds.apps import Deployment
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import InboundPort, Mesh, Service
from controlplane.translate.index import Hosts, selects
from protos.frozen import frozen

HTTP = ("HTTP", "HTTP2", "GRPC")
SPIFFE = "spiffe://"
NOBODY = ("-", "none", "anonymous")


class UnknownParty(Exception):
    """A name that means nobody; the message is for the user."""


@frozen
class Party:
    """A workload that runs (a WorkloadEntry), or one that shall (a Deployment: its container's
    ports by name)."""

    namespace: str
    name: str
    account: str
    labels: Mapping[str, str]
    address: str = ""
    inbound: tuple[InboundPort, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)

    def identity(self, trust_domain: str) -> str:
        return f"{SPIFFE}{trust_domain}/ns/{self.namespace}/sa/{self.account}"


@frozen
class Asked:
    """A workload's port. numbers: by which policies may know it; host: what a client asks for."""

    party: Party
    host: str
    numbers: tuple[int, ...]
    http: bool


class Parties:
    def __init__(self, mesh: Mesh, snapshot: Snapshot) -> None:
        self._mesh = mesh
        self._hosts = Hosts(mesh.services)
        self._services = {(s.namespace, s.name): s for s in snapshot.of(core.Service)}
        self._all = (*_running(mesh), *_planned(snapshot.of(Deployment)))

    # ------------------------------------------------------------------ from

    def identity(self, text: str, namespace: str) -> str:
        """The SPIFFE id of --from, '' for nobody (also an IP address). Raises UnknownParty."""
        if text.startswith(SPIFFE):
            return text
        if text in NOBODY or is_ip(text):
            return ""
        if "/ns/" in text and "/sa/" in text:
            return SPIFFE + text
        found = {p.identity(self._mesh.trust_domain) for p in self._named(text, namespace)}
        if not found:
            raise self._unknown("--from", text)
        if len(found) > 1:
            several = ", ".join(sorted(found))
            raise UnknownParty(f"--from: {text!r} has several identities, name one: {several}")
        return found.pop()

    # ------------------------------------------------------------------ to

    def asked(self, text: str, namespace: str, port: int | None) -> list[Asked]:
        """Every different workload that --to means, at the port. Raises UnknownParty."""
        service = self._service(text, namespace)
        parties = self._named(text, namespace)
        if not parties:
            raise self._unknown("--to", text)
        found: dict[tuple[str, str], Asked] = {}
        for party in parties:
            asked = self._at_service(party, service, port) if service else _at_workload(party, port)
            found.setdefault((party.namespace, str(sorted(party.labels.items()))), asked)
        return list(found.values())

    def _at_service(self, party: Party, service: Service, port: int | None) -> Asked:
        known = {one.number: one for one in service.ports}
        if port is None:
            port = next(
                (n for n, one in known.items() if one.protocol in HTTP), min(known, default=0)
            )
        if port not in known:
            listed = ", ".join(map(str, known)) or "none"
            raise UnknownParty(f"--port: {service.hostname!r} has no port {port} (it has {listed})")
        numbers = self._numbers(party, service, port)
        return Asked(party, service.hostname, numbers, known[port].protocol in HTTP)

    def _numbers(self, party: Party, service: Service, port: int) -> tuple[int, ...]:
        for inbound in party.inbound:
            if inbound.service_port == port and service.hostname in inbound.hostnames:
                return inbound.numbers
        target: int | str | None = None
        kubernetes = self._services.get((service.namespace, service.name))
        if kubernetes is not None:
            target = next(one.target_port for one in kubernetes.spec.ports if one.port == port)
        if isinstance(target, str):
            return (party.ports.get(target, port),)
        lone = tuple(party.ports.values()) if len(party.ports) == 1 else ()
        return tuple(dict.fromkeys((target or port, *lone)))

    # ------------------------------------------------------------------ names

    def _service(self, text: str, namespace: str) -> Service | None:
        space, _, name = text.rpartition("/")
        return self._hosts.get(self._hosts.full_name(name, space or namespace))

    def _named(self, text: str, namespace: str) -> list[Party]:
        """The workloads of a service, those of this name, those of a service account."""
        if (service := self._service(text, namespace)) is not None:
            return self._serving(service)
        space, _, name = text.rpartition("/")
        here = [p for p in self._all if p.namespace == (space or namespace)]
        return [p for p in here if p.name == name] or [p for p in here if p.account == name]

    def _serving(self, service: Service) -> list[Party]:
        named = {endpoint.workload for endpoint in service.endpoints}
        found = [p for p in self._all if f"{p.namespace}/{p.name}" in named]
        kubernetes = self._services.get((service.namespace, service.name))
        if not found and kubernetes is not None and kubernetes.spec.selector:
            wanted = kubernetes.spec.selector
            here = (p for p in self._all if p.namespace == service.namespace)
            found = [p for p in here if selects(wanted, p.labels)]
        return found

    def _unknown(self, option: str, text: str) -> UnknownParty:
        names = sorted({*(p.name for p in self._all), *(s.name for s in self._mesh.services)})
        near = difflib.get_close_matches(text.rpartition("/")[2], names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'nobody'}"
        return UnknownParty(f"{option}: nobody is named {text!r} in this namespace; {hint}")


def _running(mesh: Mesh) -> Iterable[Party]:
    for item in (*mesh.workloads, *mesh.pods):
        account, ports = item.service_account, item.inbound or item.captured
        yield Party(item.namespace, item.name, account, item.labels, item.address, inbound=ports)


def _planned(deployments: Iterable[Deployment]) -> Iterable[Party]:
    for item in deployments:
        pod = item.spec.template
        ports = {p.name: p.container_port for c in pod.spec.containers for p in c.ports}
        account = pod.spec.service_account_name or "default"
        yield Party(item.namespace, item.name, account, pod.metadata.labels, ports=ports)


def _at_workload(party: Party, port: int | None) -> Asked:
    for inbound in party.inbound:
        if port is None or port in inbound.numbers:
            return Asked(party, party.name, inbound.numbers, inbound.protocol in HTTP)
    first = tuple(party.ports.values())[:1]
    return Asked(party, party.name, first if port is None else (port,), http=True)
