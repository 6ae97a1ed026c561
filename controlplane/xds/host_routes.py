"""The routes of virtual hosts, serialized once for all clients to whom they are the same.

By what domains a service is called depends on the client's namespace; where its requests go does
not, unless a rule is for some clients. Domains stand before routes in the serialized message.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.emit import names, on_demand, routes
from controlplane.emit.clients import Client
from controlplane.emit.targets import Targets
from controlplane.mesh.model import HttpRule, Service, StreamRule
from controlplane.resources import Resource
from controlplane.snapshot import encode
from controlplane.xds import wire
from protos.frozen import frozen
from protos.types import VHDS

_SPARE = 1000
"""Services of before, of which is not known yet that they are gone."""
_ANYBODY = Client("")


@frozen
class Host:
    """A virtual host. value: the message, serialized; fetched: the resource of it alone (VHDS)."""

    domains: tuple[str, ...]
    value: bytes
    fetched: Resource


class _Of:
    """What was made of a service. rest: by port, hosts: by port and domains."""

    __slots__ = ("hosts", "rest", "service")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rest: dict[int, bytes] = {}
        self.hosts: dict[tuple[int, tuple[str, ...]], Host] = {}


class HostRoutes:
    """Of services as they are now. Raises what emission does."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[int, _Of] = {}

    def use(self, services: tuple[Service, ...]) -> None:
        """These are there now."""
        if len(self._made) > len(services) + _SPARE:
            there = set(map(id, services))
            self._made = {key: found for key, found in self._made.items() if key in there}

    def host(self, client: Client, service: Service, port: int, domains: tuple[str, ...]) -> Host:
        """A virtual host of the outbound HTTP proxy; one object for all to whom it is the same."""
        known = self._of(service)
        found = known.hosts.get((port, domains))
        if found is not None:
            return found
        if not is_alike(service):
            made = routes.proxied(service, port, list(domains), client, Targets(()))
            return host_of(service, port, domains, made.SerializeToString(deterministic=True))
        rest = self.prepare(service, port)
        name = names.virtual_host(service.hostname, port)
        words = [(1, name), *((2, domain) for domain in domains)]
        value = b"".join([wire.field(number, word.encode()) for number, word in words]) + rest
        found = known.hosts[port, domains] = host_of(service, port, domains, value)
        return found

    def prepare(self, service: Service, port: int) -> bytes:
        """All of it but for the name and the domains; of a service that is alike to all."""
        rest = self._of(service).rest
        if port not in rest:
            made = routes.proxied(service, port, [], _ANYBODY, Targets(()))
            made.ClearField("name")
            rest[port] = made.SerializeToString(deterministic=True)
        return rest[port]

    def _of(self, service: Service) -> _Of:
        known = self._made.get(id(service))
        if known is None or known.service is not service:
            known = self._made[id(service)] = _Of(service)
        return known


def host_of(service: Service, port: int, domains: tuple[str, ...], value: bytes) -> Host:
    """By itself it has the resource's name: Envoy removes it by its own one. value: empty if there
    is none."""
    place = names.virtual_host(service.hostname, port)
    return Host(domains, value, fetched(place, domains, value))


def fetched(place: str, domains: tuple[str, ...], host: bytes) -> Resource:
    """A virtual host of the table by itself. place: its name there."""
    name = on_demand.resource_name(names.HTTP_PROXY_ROUTES, place)
    if host:
        host = wire.field(1, name.encode()) + host.removeprefix(wire.field(1, place.encode()))
    aliases = [on_demand.resource_name(names.HTTP_PROXY_ROUTES, one) for one in domains]
    return encode(VHDS, name, host, tuple([one for one in aliases if one != name]))


def is_alike(service: Service) -> bool:
    """Whether none of its rules is for some clients."""
    rules: Iterable[HttpRule | StreamRule] = (*service.rules, *service.stream_rules)
    matches = (match for rule in rules for match in rule.matches)
    return not any(match.source_namespace or match.source_labels for match in matches)
