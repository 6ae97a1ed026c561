"""A VirtualService's `tls` and `tcp` entries -> rules for connections."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.kinds.http_match import MESH
from controlplane.kinds.stream_rule import TcpMatch, TcpRoute, TlsMatch, TlsRoute
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.model import StreamMatch, StreamRule
from controlplane.translate.destinations import Destinations
from controlplane.translate.http_matches import full_name
from controlplane.translate.report import Report


def rules(
    item: VirtualService, destinations: Destinations, report: Report, gateway: str = MESH
) -> tuple[StreamRule, ...]:
    """As `gateway` ('mesh', or 'namespace/name') sees them: those of TLS, which say more, first."""
    found: list[StreamRule] = []
    given: dict[str, tuple[TlsRoute | TcpRoute, ...]] = {"tls": item.spec.tls, "tcp": item.spec.tcp}
    for key, routes in given.items():
        for index, route in enumerate(routes):
            path = f"spec.{key}[{index}]"
            if matches := tuple(_matches(item, path, route, gateway, report)):
                to = tuple(destinations.shares(item, path, route.route))
                found.append(StreamRule(matches, to, route.position))
    return tuple(found)


def _matches(
    item: VirtualService, path: str, route: TcpRoute | TlsRoute, gateway: str, report: Report
) -> Iterator[StreamMatch]:
    if not route.match:
        yield StreamMatch()
    for index, match in enumerate(route.match):
        gateways = {full_name(name, item.namespace) for name in match.gateways}
        if gateways and gateway not in gateways:
            continue
        where = f"{path}.match[{index}]"
        if isinstance(match, TcpMatch) and match.source_subnet:
            message = f"{where}.sourceSubnet is not supported yet; it takes nothing"
            report.error(item, match.at("sourceSubnet"), "NotSupported", message)
            continue
        if match.destination_subnets:
            message = (
                f"{where}.destinationSubnets: for sidecars that intercept connections; others are "
                "asked by name, and for them it takes nothing"
            )
            report.info(item, match.at("destinationSubnets"), "NoEffect", message)
        yield StreamMatch(
            match.port,
            match.sni_hosts if isinstance(match, TlsMatch) else (),
            match.source_labels,
            match.source_namespace,
            match.destination_subnets,
        )
