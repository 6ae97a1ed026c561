"""IST0118, IST0150: names of service ports that say no protocol."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.population import SYSTEM_NAMESPACES, is_control_plane
from controlplane.translate.protocols import NAMES, of_name

_MANAGED = "gateway.istio.io/managed"
_WELL_KNOWN = frozenset((25, 53, 3306, 27017))
"""Istio's: SMTP, DNS, MySQL, MongoDB."""
_HBONE = "hbone"


def unnamed_protocols(items: Items) -> Iterator[Finding]:
    for service in items.of("Service"):
        if service.namespace in SYSTEM_NAMESPACES or is_control_plane(service):
            continue
        if _MANAGED in service.labels:
            continue
        for port in service.spec["ports"].items:
            yield from _port(service, port)


def _port(service: Item, port: Field) -> Iterator[Finding]:
    outside = service.spec["type"].text == "ExternalName"
    name = port["name"].text
    if _says(port) and not (outside and name == "tcp"):
        return
    if outside:
        message = (
            f"the port name {name!r} of an ExternalName service takes all TCP of the port "
            f"{port['port'].text} to it; begin the name with http, https or tls"
        )
        yield Finding("IST0150", service, port.position, message)
    else:
        message = (
            f"port {port['port'].text} ({name or 'unnamed'}) does not say its protocol; begin its "
            "name with http, grpc, tcp ... or set appProtocol"
        )
        yield Finding("IST0118", service, port.position, message)


def _says(port: Field) -> bool:
    app = port["appProtocol"].text.lower()
    if port["protocol"].text == "UDP" or port["port"].number in _WELL_KNOWN:
        return True
    if app:
        return app in NAMES or app == _HBONE or app.startswith("kubernetes.io/")
    return of_name(port["name"].text) is not None
