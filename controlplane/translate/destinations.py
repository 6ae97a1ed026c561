"""Destinations of a VirtualService's rules, looked up: which service, which subset, which port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds import http_destination as kinds
from controlplane.kinds.objects import Object
from controlplane.mesh.model import Destination, Service, TrafficPolicy
from controlplane.translate.http_actions import headers
from controlplane.translate.index import Hosts
from controlplane.translate.report import Report

NO_POLICY = TrafficPolicy()


class Destinations:
    __slots__ = ("_hosts", "_report")

    def __init__(self, hosts: Hosts, report: Report) -> None:
        self._hosts = hosts
        self._report = report

    def shares(
        self, item: Object, path: str, shares: tuple[kinds.RouteDestination, ...]
    ) -> Iterator[Destination]:
        """Of a rule at `path`: a lone one takes all, whatever its weight."""
        alone = len(shares) == 1
        for index, share in enumerate(shares):
            where = f"{path}.route[{index}]"
            if share.weight is None and not alone:
                message = f"{where} has no weight and gets no request"
                self._report.warning(item, share.position, "NoWeight", message)
            weight = 100 if alone else share.weight or 0
            given = share.headers if isinstance(share, kinds.HttpRouteDestination) else None
            found = self.find(item, f"{where}.destination", share.destination, weight, given)
            if found.tunnel is not None and not alone:
                message = f"{where}: its tunnel holds for a lone destination only"
                self._report.warning(item, share.position, "NoEffect", message)
            yield found

    def find(
        self,
        item: Object,
        where: str,
        wanted: kinds.Destination,
        weight: int = 100,
        given: kinds.Headers | None = None,
    ) -> Destination:
        """What `wanted`, written at `where`, means in the namespace of `item`."""
        hostname = self._hosts.full_name(wanted.host, item.namespace)
        service = self._hosts.get(hostname)
        port = wanted.port.number if wanted.port else None
        resolved = self._resolve(item, where, wanted, hostname, service)
        if port is None and service is not None and len(service.ports) == 1:
            port = service.ports[0].number
        return Destination(
            host=hostname,
            weight=weight,
            subset=wanted.subset,
            port=port,
            headers=headers(given or kinds.Headers()),
            resolved=resolved,
            hash=policy_of(service, wanted.subset, port).hash,
            tunnel=policy_of(service, wanted.subset, port).tunnel,
            position=wanted.at("host"),
        )

    def _resolve(
        self,
        item: Object,
        where: str,
        wanted: kinds.Destination,
        hostname: str,
        service: Service | None,
    ) -> bool:
        """Does the destination exist? If not, says what is missing and where it is named."""
        if service is None:
            message = f"{where}.host: no service named {hostname!r}; requests will get 503"
            self._report.error(item, wanted.at("host"), "UnknownService", message)
            return False
        found = True
        if wanted.subset and wanted.subset not in set(_subsets(service)):
            message = (
                f"{where}.subset: no DestinationRule gives {hostname!r} a subset "
                f"{wanted.subset!r}; requests will get 503"
            )
            self._report.error(item, wanted.at("subset"), "UnknownSubset", message)
            found = False
        ports = [port.number for port in service.ports]
        if wanted.port is not None and wanted.port.number not in ports:
            known = ", ".join(map(str, ports)) or "none"
            message = (
                f"{where}.port.number: {hostname!r} has no port {wanted.port.number} "
                f"(it has {known}); requests will get 503"
            )
            self._report.error(item, wanted.port.at("number"), "UnknownPort", message)
            found = False
        return found


def _subsets(service: Service) -> Iterable[str]:
    """Those that any client has."""
    yield from (subset.name for subset in service.subsets)
    for policy in service.for_clients:
        yield from (subset.name for subset in policy.subsets)


def policy_of(service: Service | None, subset: str, port: int | None) -> TrafficPolicy:
    """How clients speak to a destination; port None: as for all ports."""
    if service is None:
        return NO_POLICY
    of = next((found for found in service.subsets if found.name == subset), service)
    return of.policy if port is None else of.port_policies.get(port, of.policy)
