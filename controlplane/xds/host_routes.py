"""The routes of virtual hosts, serialized once for all clients to whom they are the same.

By what domains a service is called depends on the client's namespace; where its requests go does
not, unless a rule is for some clients. Domains stand before routes in the serialized message.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.emit import names, routes
from controlplane.emit.clients import Client
from controlplane.emit.targets import Targets
from controlplane.mesh.model import HttpRule, Service, StreamRule
from controlplane.xds import wire

_SPARE = 1000
"""Services of before, of which is not known yet that they are gone."""
_ANYBODY = Client("")


class HostRoutes:
    """Of services as they are now. Raises what emission does."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[int, tuple[Service, dict[int, bytes]]] = {}

    def use(self, services: tuple[Service, ...]) -> None:
        """These are there now."""
        if len(self._made) > len(services) + _SPARE:
            there = set(map(id, services))
            self._made = {key: found for key, found in self._made.items() if key in there}

    def host(self, client: Client, service: Service, port: int, domains: tuple[str, ...]) -> bytes:
        """A VirtualHost of the outbound HTTP proxy, serialized."""
        if not is_alike(service):
            made = routes.proxied(service, port, list(domains), client, Targets(()))
            return made.SerializeToString(deterministic=True)
        rest = self.prepare(service, port)
        name = names.virtual_host(service.hostname, port)
        words = [(1, name), *((2, domain) for domain in domains)]
        return b"".join([wire.field(number, word.encode()) for number, word in words]) + rest

    def prepare(self, service: Service, port: int) -> bytes:
        """All of it but for the name and the domains; of a service that is alike to all."""
        known = self._made.get(id(service))
        if known is None or known[0] is not service:
            known = self._made[id(service)] = (service, {})
        if port not in known[1]:
            made = routes.proxied(service, port, [], _ANYBODY, Targets(()))
            made.ClearField("name")
            known[1][port] = made.SerializeToString(deterministic=True)
        return known[1][port]


def is_alike(service: Service) -> bool:
    """Whether none of its rules is for some clients."""
    rules: Iterable[HttpRule | StreamRule] = (*service.rules, *service.stream_rules)
    matches = (match for rule in rules for match in rule.matches)
    return not any(match.source_namespace or match.source_labels for match in matches)
