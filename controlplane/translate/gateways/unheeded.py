"""Fields of Gateway API that have no effect here: nobody shall believe that they have one."""

from __future__ import annotations

from controlplane.kinds.gateway_api.gateway import Gateway
from controlplane.kinds.gateway_api.grpc_route import GRPCRoute
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.kinds.gateway_api.l4_routes import TCPRoute, TLSRoute, UDPRoute
from controlplane.kinds.objects import Object
from controlplane.translate.gateways.authorities import MODE_OPTION
from controlplane.translate.gateways.words import Fault
from controlplane.translate.report import Report


def tell_gateway(gateway: Gateway, unresolved: Fault | None, report: Report) -> None:
    """unresolved: what is wrong with the certificate for backends."""
    spec = gateway.spec
    if unresolved is not None:
        report.error(gateway, spec.at("tls"), unresolved.reason, unresolved.message)
    if spec.infrastructure.labels or spec.infrastructure.annotations:
        message = "spec.infrastructure: Weft starts no proxies, so nothing gets these"
        report.info(gateway, spec.at("infrastructure"), "NoEffect", message)
    for listener in spec.listeners:
        for name in sorted(listener.tls.options) if listener.tls is not None else ():
            if name != MODE_OPTION:
                message = f"the listener {listener.name!r}: the option {name!r} has no meaning here"
                report.info(gateway, listener.position, "NoEffect", message)


def tell_route(route: Object, report: Report) -> None:
    if not isinstance(route, HTTPRoute | GRPCRoute | TLSRoute | TCPRoute | UDPRoute):
        return
    if route.spec.use_default_gateways == "All":
        message = "spec.useDefaultGateways: no Gateway with the defaultScope All takes it"
        position = route.spec.at("useDefaultGateways")
        report.warning(route, position, "NoMatchingParent", message)
