"""Mutual TLS of the mesh through a gateway, unopened: the client names in its server name which
service it means (Istio's AUTO_PASSTHROUGH, by which networks are joined)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.emit import names
from controlplane.mesh.gateways import Server
from controlplane.mesh.model import Service


def crossing(services: Iterable[Service], server: Server) -> Iterator[Service]:
    """Those of the mesh that the server lets pass; without hosts all."""
    for service in services:
        named = not server.hosts or any(_covers(one, service.hostname) for one in server.hosts)
        if named and not service.external:
            yield service


def passed_on(service: Service) -> Iterator[str]:
    """Server names, which are those of its clusters, too."""
    for port in service.ports:
        if port.protocol != "UDP":
            for subset in ("", *(one.name for one in service.subsets)):
                yield names.outbound_sni(service.hostname, port.number, subset)


def _covers(wide: str, hostname: str) -> bool:
    """'*.local' takes every name that ends so."""
    return wide in ("*", hostname) or (wide.startswith("*.") and hostname.endswith(wide[1:]))
