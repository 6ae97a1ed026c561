"""Which clusters routes may name, and which they name although they are not there.

A missing one stays in the route on purpose: the proxy answers 503 with the response flag NC.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.emit import names
from controlplane.mesh.model import Destination, Service


class Targets:
    __slots__ = ("_missing", "known")

    def __init__(self, services: Iterable[Service]) -> None:
        self.known = frozenset(
            names.outbound_cluster(service.hostname, port.number, subset)
            for service in services
            for port in service.ports
            if port.protocol != "UDP"
            for subset in ("", *(subset.name for subset in service.subsets))
        )
        self._missing: set[str] = set()

    @property
    def missing(self) -> frozenset[str]:
        """What was asked for in vain so far."""
        return frozenset(self._missing)

    def cluster(self, destination: Destination, port: int) -> str:
        """The cluster of `destination` for requests that came for `port`."""
        subset = destination.subset
        name = names.outbound_cluster(destination.host, destination.port or port, subset)
        if name not in self.known:
            self._missing.add(name)
        return name
