"""DestinationRules whose TLS the service's own workloads refuse: every request would fail.

    DISABLE, SIMPLE, MUTUAL   where a workload takes nothing but mTLS of the mesh (STRICT)
    ISTIO_MUTUAL              where no sidecar answers, or one that has mTLS turned off (DISABLE)

What rules came to is compared with the endpoints as they are; nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.kinds import destination_rule as kinds
from controlplane.mesh.model import Endpoint, Service, Workload
from controlplane.translate.peers import PeerModes
from controlplane.translate.report import Report

_NAMED = 3
"""How many services a message names."""
_MUTUAL = "ISTIO_MUTUAL"


Deciding = tuple[tuple[kinds.DestinationRule, kinds.ClientTls], ...]


def deciding(rules: Iterable[kinds.DestinationRule]) -> Deciding:
    """The rules that say something about TLS, and what."""
    return tuple((rule, tls) for rule in rules if (tls := _said(rule)) is not None)


def tell(
    deciding: Deciding,
    services: tuple[Service, ...],
    workloads: tuple[Workload, ...],
    modes: PeerModes,
    report: Report,
) -> None:
    """services: with their endpoints and policies. Only the rules' policies for all ports of a
    service are looked at."""
    plain = any(said.mode != _MUTUAL for _, said in deciding)
    known = {f"{one.namespace}/{one.name}": one for one in workloads} if plain else {}
    ruled = [one for one in services if one.policy.tls is not None] if deciding else []
    found = {one.hostname: one for one in ruled if _refused(one, known, modes)}
    for rule, said in deciding:
        names = sorted(
            name
            for name, service in found.items()
            if service.policy.tls is not None
            and service.policy.tls.mode == said.mode
            and _is_for(rule, service)
        )
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            message = f"tls.mode {said.mode}: {', '.join(names[:_NAMED])}{more} {_why(said.mode)}"
            report.warning(rule, said.position, "TlsConflict", message)


def _why(mode: str) -> str:
    if mode == _MUTUAL:
        return (
            "has no sidecar that speaks mTLS of the mesh, so requests fail; leave tls out, or use "
            "DISABLE"
        )
    return (
        "takes mTLS of the mesh only (STRICT), so requests fail; leave tls out, or use "
        f"{_MUTUAL}, or PERMISSIVE there"
    )


def _said(rule: kinds.DestinationRule) -> kinds.ClientTls | None:
    return rule.spec.traffic_policy.tls if rule.spec.traffic_policy else None


def _is_for(rule: kinds.DestinationRule, service: Service) -> bool:
    host = rule.spec.host
    if host.startswith("*"):
        return service.hostname.endswith(host[1:])
    if host in (service.hostname, *service.aliases):
        return True
    return rule.namespace == service.namespace and host in (service.name, *service.local_aliases)


def _refused(service: Service, workloads: Mapping[str, Workload], modes: PeerModes) -> bool:
    """Whether no endpoint takes what clients of the service begin with. Of what is no workload of
    the mesh nobody knows. The first endpoint decides where all is well, for this is asked at every
    change."""
    tls, endpoints = service.policy.tls, service.endpoints
    if tls is None or not endpoints:
        return False
    if tls.mode == _MUTUAL:
        return all(one.workload and not one.mesh for one in endpoints)
    return all(_is_strict(service, one, workloads, modes) for one in endpoints)


def _is_strict(
    service: Service, endpoint: Endpoint, workloads: Mapping[str, Workload], modes: PeerModes
) -> bool:
    if not (endpoint.mesh and endpoint.workload):
        return False
    workload = workloads.get(endpoint.workload)
    known = [
        port.mtls
        for port in (workload.inbound if workload else ())
        if port.service_port in endpoint.ports and service.hostname in port.hostnames
    ]
    if not known:
        namespace = endpoint.workload.partition("/")[0]
        mode, ports = modes.settled(namespace, endpoint.labels)
        known = [ports.get(port, mode) for port in endpoint.ports.values()]
    return set(known) == {"STRICT"}
