"""What routes of Gateway API send to: their references to services, resolved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from controlplane.kinds.gateway_api.references import BackendObjectReference
from controlplane.kinds.objects import Object
from controlplane.mesh.model import Destination, Service, ServicePort
from controlplane.mesh.services import Protocol
from controlplane.translate.destinations import policy_of
from controlplane.translate.gateways.grants import Grants
from controlplane.translate.gateways.words import Fault
from controlplane.translate.index import DOMAIN
from protos.frozen import frozen, replace

HOSTNAMES = ("networking.istio.io", "Hostname")
"""Istio's reference to any host of the mesh, for instance of a ServiceEntry."""

INVALID = "invalid.backend"
"""The host of a destination that is not there: requests that would go to it are answered 500."""


@frozen
class Backend:
    """A destination and what is wrong with the reference to it, None if nothing is."""

    destination: Destination
    fault: Fault | None = None
    service: Service | None = None


class Read(NamedTuple):
    """What a reference of a route leads to, and whether some port of that is shut."""

    route: Object
    reference: BackendObjectReference
    found: Service | Fault
    shut: bool


class Backends:
    __slots__ = ("_grants", "_services", "_shut", "_shut_hosts")

    def __init__(
        self,
        services: Iterable[Service],
        grants: Grants | None,
        shut: Collection[tuple[str, int]] = frozenset(),
    ) -> None:
        """shut: host names and ports that nobody may be sent to."""
        self._services: Mapping[str, Service] = {one.hostname: one for one in services}
        self._grants = grants
        self._shut = shut
        self._shut_hosts = frozenset(host for host, _ in shut)

    @property
    def for_all(self) -> bool:
        """No grants are needed."""
        return self._grants is None

    def for_mesh(self) -> Backends:
        """The same for routes of the mesh, which need no grants: a client there could as well
        send its requests itself."""
        return Backends(self._services.values(), None, self._shut)

    def resolve(
        self,
        route: Object,
        reference: BackendObjectReference,
        weight: int = 1,
        protocols: frozenset[Protocol] | None = None,
    ) -> Backend:
        """The backend of one reference. protocols: those that its port must speak one of."""
        found = self._find(route, reference)
        if isinstance(found, Fault):
            nowhere = _nowhere(reference, weight, found)
            named = replace(nowhere.destination, host=self._name_of(reference))
            return replace(nowhere, destination=named)
        port = _port(found, reference)
        if isinstance(port, Fault):
            return _nowhere(reference, weight, port)
        if protocols is not None and port.protocol not in protocols:
            message = f"port {port.number} of {found.hostname} speaks {port.protocol}"
            return _nowhere(reference, weight, Fault("UnsupportedProtocol", message))
        if (found.hostname, port.number) in self._shut:
            return Backend(_shut(reference, weight), None, found)
        made = Destination(
            found.hostname,
            weight,
            port=port.number,
            tunnel=policy_of(found, "", port.number).tunnel,
            position=reference.at("name"),
        )
        return Backend(made, None, found)

    def read(self, route: Object, reference: BackendObjectReference) -> Read:
        """All that `resolve` depends on, but for its arguments."""
        found = self._find(route, reference)
        shut = isinstance(found, Service) and found.hostname in self._shut_hosts
        return Read(route, reference, found, shut)

    def stand(self, read: Iterable[Read]) -> bool:
        """Whether these would be the same. Which ports of a service are shut is not looked at."""
        for one in read:
            now = self.read(one.route, one.reference)
            if one.shut or now.shut:
                return False
            if now.found is not one.found and (
                isinstance(one.found, Service) or now.found != one.found
            ):
                return False
        return True

    def _find(self, route: Object, reference: BackendObjectReference) -> Service | Fault:
        kind = (reference.group, reference.kind)
        namespace = reference.namespace or route.namespace
        if kind not in (("", "Service"), HOSTNAMES):
            named = f"{reference.group or 'core'}/{reference.kind}"
            message = f"a backend can be a Service or a Hostname of Istio, not {named}"
            return Fault("InvalidKind", message)
        if kind == HOSTNAMES:
            hostname = reference.name
        elif self._grants is not None and not self._grants.allows(route, reference, namespace):
            message = f"no ReferenceGrant in {namespace!r} allows to refer to {reference.name!r}"
            return Fault("RefNotPermitted", message)
        else:
            hostname = f"{reference.name}.{namespace}.svc.{DOMAIN}"
        found = self._services.get(hostname)
        return found or Fault("BackendNotFound", f"there is no service {hostname!r}")

    def _name_of(self, reference: BackendObjectReference) -> str:
        """Of what is not there. A Hostname keeps its own, as with Istio, unless somebody has it."""
        kind = (reference.group, reference.kind)
        free = kind == HOSTNAMES and reference.name not in self._services
        return reference.name if free else INVALID


class Watched:
    """Notes what was read of them."""

    __slots__ = ("_backends", "read")

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self.read: list[Read] = []

    def resolve(
        self,
        route: Object,
        reference: BackendObjectReference,
        weight: int = 1,
        protocols: frozenset[Protocol] | None = None,
    ) -> Backend:
        """As Backends does."""
        self.read.append(self._backends.read(route, reference))
        return self._backends.resolve(route, reference, weight, protocols)


def _port(service: Service, reference: BackendObjectReference) -> ServicePort | Fault:
    for port in service.ports:
        if port.number == reference.port and port.protocol != "UDP":
            return port
    if reference.port is None and len(service.ports) == 1:
        return service.ports[0]
    known = ", ".join(str(port.number) for port in service.ports) or "none"
    message = f"{service.hostname} has no port {reference.port} (it has {known})"
    return Fault("BackendNotFound", message)


def _nowhere(reference: BackendObjectReference, weight: int, fault: Fault) -> Backend:
    return Backend(_shut(reference, weight), fault)


def _shut(reference: BackendObjectReference, weight: int) -> Destination:
    made = Destination(INVALID, weight, port=reference.port or 0, resolved=False)
    return replace(made, position=reference.at("name"))
