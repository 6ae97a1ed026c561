"""Whom Telemetry and the MeshConfig may name for one of the things that they speak of: the
extensionProviders that serve it, why the others do not, and where a provider's service is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from controlplane.kinds.mesh_config import ExtensionProvider, MeshConfigMap
from controlplane.kinds.telemetry import ProviderRef, Telemetry
from controlplane.mesh.model import Service
from controlplane.translate.report import Report
from protos.frozen import frozen


@frozen
class Providers:
    """faults: of all that there are, by name, why one does not serve ('' if it does). lost: what
    does not happen if one is named that does not serve. Both are parts of sentences."""

    faults: Mapping[str, str]
    lost: str

    @classmethod
    def of(
        cls,
        settings: MeshConfigMap | None,
        built_in: str,
        fault: Callable[[ExtensionProvider], str],
        lost: str,
    ) -> Providers:
        """built_in: one that everybody has, until the MeshConfig says something else of it."""
        given = settings.data.mesh.extension_providers if settings is not None else ()
        return cls({built_in: "", **{one.name: fault(one) for one in given}}, lost)

    def __contains__(self, name: str) -> bool:
        return self.faults.get(name) == ""

    def tell(self, item: Telemetry, named: Iterable[ProviderRef], report: Report) -> None:
        """Those named in vain."""
        for one in named:
            if one.name not in self:
                report.error(item, one.position, "UnknownProvider", self._why_not(one.name))

    def tell_defaults(
        self, settings: MeshConfigMap | None, key: str, named: Iterable[str], report: Report
    ) -> None:
        """Those named in vain under that key of defaultProviders."""
        chosen = settings.data.mesh.default_providers if settings is not None else None
        for name in named:
            if settings is not None and chosen is not None and name not in self:
                message = f"defaultProviders.{key}: {self._why_not(name)}"
                report.error(settings, chosen.at(key), "UnknownProvider", message)

    def _why_not(self, name: str) -> str:
        if name in self.faults:
            return f"the provider {name!r} {self.faults[name]}, and {self.lost}"
        there = ", ".join(sorted(self.faults)) or "none"
        return f"the MeshConfig has no extensionProvider {name!r} (it has {there})"


class Addressed(Protocol):
    """A provider that is a service. service: HOST, or NAMESPACE/HOST (Istio)."""

    @property
    def service(self) -> str: ...

    @property
    def port(self) -> int: ...


def host_of(item: Addressed, services: Mapping[str, Service]) -> tuple[str, str]:
    """(host name, what is wrong with it, '' if nothing). services: by host name."""
    namespace, _, host = item.service.rpartition("/")
    host = host.rstrip(".").lower()
    service = services.get(host)
    if service is None or namespace not in ("", service.namespace):
        return host, f"the mesh has no service {item.service!r}"
    if item.port not in {port.number for port in service.ports}:
        return host, f"the service {host!r} has no port {item.port}"
    return host, ""
