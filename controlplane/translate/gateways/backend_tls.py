"""BackendTLSPolicy: TLS to services that end it themselves, instead of a sidecar's.

It becomes the traffic policy of the service's ports, unless a DestinationRule says something. A
policy that can't be used shuts its service: requests are answered 5xx rather than sent in clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from controlplane.kinds.gateway_api.policies import BackendTLSPolicy, PolicyTarget
from controlplane.mesh.conditions import ObjectConditions, Parent, ParentConditions
from controlplane.mesh.model import ClientTls, Service, ServicePort
from controlplane.translate.gateways.authorities import Authorities
from controlplane.translate.gateways.precedence import seniority
from controlplane.translate.gateways.words import Fault, bad, judged
from controlplane.translate.index import DOMAIN
from controlplane.translate.report import Report

IGNORED = "istio.io/ignore-policy-attachment"
"""An annotation: with "true" a policy is for other implementations."""

_WHY_IGNORED = f"the annotation {IGNORED} says so"
_LEFT_ALONE = Fault("IgnoredByIstio", _WHY_IGNORED)
"""Istio's word, as the annotation is."""

MAX_PARENTS = 16
"""As many as a status can hold (`ancestors`)."""

PortOf = tuple[str, int]
"""A service's host name and the number of one of its ports."""


@dataclass(slots=True)
class _Judged:
    policy: BackendTLSPolicy
    tls: ClientTls | None = None
    accepted: Fault | None = None
    conflict: Fault | None = None
    unresolved: Fault | None = None
    targets: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


class BackendTls:
    """services: with their policies. shut: ports that nobody may be sent to."""

    def __init__(
        self,
        policies: Iterable[BackendTLSPolicy],
        services: tuple[Service, ...],
        authorities: Authorities,
        report: Report,
    ) -> None:
        self._authorities = authorities
        self._report = report
        self._by_name = {one.hostname: one for one in services}
        self._settings: dict[PortOf, ClientTls] = {}
        self._owners: dict[PortOf, tuple[BackendTLSPolicy, bool]] = {}
        self.shut: set[PortOf] = set()
        ordered = sorted(policies, key=seniority)
        self._ignored = [one for one in ordered if one.metadata.annotations.get(IGNORED) == "true"]
        for policy in self._ignored:
            position = policy.metadata.at(f"annotations.{IGNORED}")
            report.info(policy, position, "NoEffect", _WHY_IGNORED)
        self._judged = [self._judge(one) for one in ordered if one not in self._ignored]
        for sectioned in (True, False):
            for found in self._judged:
                self._claim(found, sectioned)
        for found in self._judged:
            self._tell(found)
        with_tls = {hostname for hostname, _ in self._settings}
        self.services = tuple(
            self._secured(one) if one.hostname in with_tls else one for one in services
        )

    def _judge(self, policy: BackendTLSPolicy) -> _Judged:
        found = _Judged(policy)
        for name in sorted(policy.spec.options):
            message = f"spec.options: {name!r} has no meaning here"
            self._report.info(policy, policy.spec.at("options"), "NoEffect", message)
        self._read(found)
        return found

    def _claim(self, found: _Judged, sectioned: bool) -> None:
        """A policy for one port goes before one for a whole service, however old that is."""
        policy = found.policy
        for index, target in enumerate(policy.spec.target_refs):
            if bool(target.section_name) != sectioned:
                continue
            places = tuple(self._places(policy, target, found))
            if not places:
                position = policy.spec.at(f"targetRefs[{index}]")
                message = f"there is no Service {target.name!r} with such a port"
                self._report.warning(policy, position, "TargetNotFound", message)
            for place in places:
                self._apply(found, place, sectioned)

    def _tell(self, found: _Judged) -> None:
        for fault in (found.accepted, found.conflict, found.unresolved):
            if fault is not None:
                policy = found.policy
                self._report.error(policy, policy.position, fault.reason, fault.message)

    def _read(self, found: _Judged) -> None:
        """Settles what TLS is to be, or why it can't be."""
        policy = found.policy
        wanted = policy.spec.validation
        pems: list[str] = []
        for reference in wanted.ca_certificate_refs:
            roots = self._authorities.roots(policy, reference, policy.namespace)
            if isinstance(roots, str):
                pems.append(roots)
            else:
                found.unresolved = found.unresolved or roots
        if wanted.well_known_ca_certificates not in ("", "System"):
            message = f"only System is known, not {wanted.well_known_ca_certificates}"
            found.accepted = Fault("Invalid", message)
        elif wanted.ca_certificate_refs and not pems:
            found.accepted = Fault("NoValidCACertificate", "no roots to verify the backend by")
        names = tuple(one.hostname or one.uri for one in wanted.subject_alt_names)
        found.tls = ClientTls(
            "SIMPLE",
            wanted.hostname,
            names or (wanted.hostname,),
            roots_pem="\n".join(pems),
            by_gateways=True,
        )

    def _places(
        self, policy: BackendTLSPolicy, target: PolicyTarget, found: _Judged
    ) -> Iterator[PortOf]:
        hostname = f"{target.name}.{policy.namespace}.svc.{DOMAIN}"
        service = self._by_name.get(hostname)
        if service is None or (target.group, target.kind) != ("", "Service"):
            return
        found.targets.add(hostname)
        found.names.add(target.name)
        for port in service.ports:
            if _is_meant(port, target):
                yield hostname, port.number

    def _apply(self, found: _Judged, place: PortOf, sectioned: bool) -> None:
        first, was_sectioned = self._owners.setdefault(place, (found.policy, sectioned))
        if first is not found.policy:
            if was_sectioned == sectioned:
                message = f"{first.key} at {first.position} is older and has {place[0]}"
                found.conflict = Fault("Conflicted", message)
        elif found.accepted is not None:
            self.shut.add(place)
        elif found.tls is not None:
            self._settings[place] = found.tls

    def _secured(self, service: Service) -> Service:
        policies = dict(service.port_policies)
        for port in service.ports:
            settings = self._settings.get((service.hostname, port.number))
            present = policies.get(port.number, service.policy)
            if settings is not None and present.tls is None:
                policies[port.number] = replace(present, tls=settings)
        return replace(service, port_policies=policies)

    def conditions(
        self, parents_of: Callable[[str], Iterable[tuple[Parent, str]]]
    ) -> Iterator[ObjectConditions]:
        """parents_of: the gateways that send to a service, and their controllers; of each of them
        and of the services, to which clients of the mesh send, a policy tells."""
        for found in self._judged:
            policy = found.policy
            accepted = judged("Accepted", found.accepted or found.conflict)
            resolved = judged("ResolvedRefs", found.unresolved)
            parents = {parent for host in found.targets for parent in parents_of(host)}
            ordered = [(Parent("", "Service", "", name), "") for name in sorted(found.names)]
            ordered += sorted(parents, key=lambda one: (one[0].namespace, one[0].name))
            told = tuple(
                ParentConditions(one, (accepted, resolved), controller)
                for one, controller in ordered[:MAX_PARENTS]
            )
            yield ObjectConditions("BackendTLSPolicy", policy.namespace, policy.name, parents=told)
        for policy in self._ignored:
            names = {one.name for one in policy.spec.target_refs if one.kind == "Service"}
            told = tuple(
                ParentConditions(Parent("", "Service", "", name), (bad("Accepted", _LEFT_ALONE),))
                for name in sorted(names)
            )
            yield ObjectConditions("BackendTLSPolicy", policy.namespace, policy.name, parents=told)


def _is_meant(port: ServicePort, target: PolicyTarget) -> bool:
    return port.protocol != "UDP" and target.section_name in ("", port.name)
