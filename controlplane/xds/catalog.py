"""What the services of the mesh come to, made and encoded once for each as it is.

A Service that did not change is the same object from mesh to mesh (translation sees to it), and so
are its resources here. What can't be made of one is our own mistake: it is logged, and the
last that could stays, so that one bad service takes no other down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from operator import is_
from typing import Generic, TypeVar

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import clients, envoy, names, on_demand, routes
from controlplane.emit.clients import Client
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Mesh, Service
from controlplane.resources import NO_LAYER, Layer, Resource
from controlplane.snapshot import check, encode
from controlplane.xds.wire import field
from protos.types import CDS, EDS, RDS, VHDS

log = logging.getLogger("weft.controlplane.xds")

T = TypeVar("T")


class Kept(Generic[T]):
    """The last one made for each key, and of what; keys that nobody asks for are forgotten by
    every second `sweep`."""

    __slots__ = ("_now", "_old")

    def __init__(self) -> None:
        self._now: dict[Hashable, tuple[tuple[object, ...], T]] = {}
        self._old: dict[Hashable, tuple[tuple[object, ...], T]] = {}

    def last(self, key: Hashable) -> tuple[tuple[object, ...], T] | None:
        return self._now.get(key) or self._old.get(key)

    def get(self, key: Hashable, made_of: tuple[object, ...], make: Callable[[T | None], T]) -> T:
        """make(the last one), unless that was made of the very same."""
        found = self.last(key)
        if found is None or not _same(found[0], made_of):
            found = (made_of, make(found[1] if found is not None else None))
        self._now[key] = found
        return found[1]

    def put(self, key: Hashable, value: T) -> T:
        """Keeps what was made by other means."""
        self._now[key] = ((), value)
        return value

    def sweep(self) -> None:
        self._old, self._now = self._now, {}


_BY_IDENTITY = (Service, Mesh)
"""Comparing them would take longer than making what is made of them."""


_BY_IDENTITY = (Service, Mesh)
"""Comparing them would take longer than making what is made of them."""


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    if len(one) != len(other):
        return False
    return all(map(is_, one, other)) or all(
        a is b or (not isinstance(a, _BY_IDENTITY) and a == b)
        for a, b in zip(one, other, strict=True)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A service's own resources."""

    clusters: tuple[Resource, ...] = ()
    endpoints: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True)
class _Facts:
    """Whether a service is the same to all clients, and which labels of theirs it asks for."""

    common: bool
    labels: frozenset[str]

    @classmethod
    def of(cls, service: Service, last: _Facts | None) -> _Facts:
        return cls(clients.is_common(service), frozenset(clients.labels_of(service)))


class Catalog:
    """Of one mesh after the other. `mesh` is the present one."""

    def __init__(self, mesh: Mesh) -> None:
        self._encoded: Kept[Encoded] = Kept()
        self._hosts: Kept[bytes] = Kept()
        self._tables: Kept[tuple[tuple[bytes, ...], Resource]] = Kept()
        self._fetched: Kept[Resource] = Kept()
        self._domains: Kept[routes.Domains] = Kept()
        self._facts: Kept[_Facts] = Kept()
        self._layers: Kept[Layer] = Kept()
        self.mesh = mesh
        self.use(mesh)

    def use(self, mesh: Mesh) -> None:
        """From now on everything is of this mesh."""
        for kept in (self._encoded, self._hosts, self._tables, self._domains, self._facts):
            kept.sweep()
        self._layers.sweep()
        self._fetched.sweep()
        self.mesh = mesh
        facts = [
            self._facts.get(one.hostname, (one,), partial(_Facts.of, one)) for one in mesh.services
        ]
        pairs = tuple(zip(mesh.services, facts, strict=True))
        self.common = tuple(service for service, about in pairs if about.common)
        self.own = tuple(service for service, about in pairs if not about.common)
        asked = frozenset(name for about in facts for name in about.labels)
        self.client_labels = asked.union(clients.labels_of_imports(mesh.imports))

    # ------------------------------------------------------------------ clusters, endpoints

    def layers(self, name: Hashable, services: Iterable[Service]) -> dict[str, Layer]:
        """The clusters and endpoints of services, which are some client's or everybody's."""
        made = [self._of(name, service) for service in services]
        clusters = {one.name: one for item in made for one in item.clusters}
        endpoints = {one.name: one for item in made for one in item.endpoints}
        return {CDS: self.layer((name, CDS), clusters), EDS: self.layer((name, EDS), endpoints)}

    def layer(self, key: Hashable, resources: dict[str, Resource]) -> Layer:
        """The last one of this key, if it has the same resources."""
        if not resources:
            return NO_LAYER
        found = self._layers.last(key)
        last = found[1] if found is not None else None
        if last is None or last.keys() != resources.keys() or not _alike(last, resources):
            last = Layer(resources)
        return self._layers.put(key, last)

    def _of(self, name: Hashable, service: Service) -> Encoded:
        domains = self.mesh.own_domains

        def make(last: Encoded | None) -> Encoded:
            try:
                return _encoded(service, domains, last or Encoded())
            except Exception as error:
                # Whatever it is, proxies must keep what they have and others get what is new.
                log.exception("configuration of %s cannot be built: %s", service.hostname, error)
                return last or Encoded()

        return self._encoded.get((name, service.hostname), (service, domains), make)

    # ------------------------------------------------------------------ routes

    def table(self, client: Client, views: tuple[Service, ...]) -> Resource:
        """The routes of the outbound HTTP proxy of such clients. views: what they see of the
        services that are not the same to all."""
        made = tuple(host for _, _, host in self._hosts_of(client, views))
        found = self._tables.last(client)
        last = found[1] if found is not None else None
        if last is None or last[0] != made:
            last = (made, _table(made))
        return self._tables.put(client, last)[1]

    def hosts(self, client: Client, views: tuple[Service, ...]) -> Layer:
        """The virtual hosts of that table one by one, by each of their domains (VHDS)."""
        found: dict[str, Resource] = {}
        for place, domains, host in self._hosts_of(client, views):
            if host:
                make = partial(_fetched, place, domains, host)
                one = self._fetched.get((client, place), (domains, host), make)
                found |= dict.fromkeys((one.name, *one.aliases), one)
        return self.layer((client, VHDS), found)

    def _hosts_of(
        self, client: Client, views: tuple[Service, ...]
    ) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
        """(name, domains, message) of each."""
        services = self._known_to(client, views)
        known, targets = self._domains_of(client, services), Targets(())
        for service in services:
            for port in routes.tcp_ports(service):
                if domains := tuple(known.of(service, port)):
                    host = self._host(client, service, port, domains, targets)
                    yield names.virtual_host(service.hostname, port), domains, host

    def _known_to(self, client: Client, views: tuple[Service, ...]) -> tuple[Service, ...]:
        services = self.common
        if views:
            services = tuple(sorted((*services, *views), key=lambda one: one.hostname))
        return clients.imported(services, self.mesh.imports, client)

    def _domains_of(self, client: Client, services: tuple[Service, ...]) -> routes.Domains:
        shape = tuple(map(_shape, services))
        namespace = client.namespace
        return self._domains.get(client, shape, lambda _: routes.Domains(services, namespace))

    def _host(
        self,
        client: Client,
        service: Service,
        port: int,
        domains: tuple[str, ...],
        targets: Targets,
    ) -> bytes:
        """A VirtualHost, serialized; empty if it can't be made and never could."""

        def make(last: bytes | None) -> bytes:
            try:
                host = routes.proxied(service, port, list(domains), client, targets)
                value = host.SerializeToString(deterministic=True)
            except Exception as error:
                log.exception("routes of %s cannot be built: %s", service.hostname, error)
                return last or b""
            return last if last == value else value

        return self._hosts.get((client, service.hostname, port), (service, domains), make)


def _alike(one: dict[str, Resource], other: dict[str, Resource]) -> bool:
    return all(other[name] is resource for name, resource in one.items())


def _shape(service: Service) -> tuple[object, ...]:
    """What virtual hosts' domains depend on."""
    return (
        service.hostname,
        service.namespace,
        service.ports,
        service.aliases,
        service.local_aliases,
        service.addresses,
    )


def _encoded(service: Service, trust_domains: tuple[str, ...], last: Encoded) -> Encoded:
    """What is as it was stays the same object."""
    draft = envoy.of_services((service,), trust_domains)
    if problems := check(draft):
        raise ValueError("; ".join(problems))
    types = draft.encode()
    return Encoded(
        _kept(types[CDS].values(), last.clusters), _kept(types[EDS].values(), last.endpoints)
    )


def _kept(made: Iterable[Resource], last: Iterable[Resource]) -> tuple[Resource, ...]:
    known = {one.name: one for one in last}
    return tuple(
        old if (old := known.get(new.name)) is not None and old.version == new.version else new
        for new in made
    )


def _table(hosts: Iterable[bytes]) -> Resource:
    """A RouteConfiguration, put together from its virtual hosts: messages are fields in a row, name
    1, virtual_hosts 2, and the others."""
    name = names.HTTP_PROXY_ROUTES
    begin = RouteConfiguration(name=name).SerializeToString()
    end = routes.configuration(name).SerializeToString(deterministic=True)[len(begin) :]
    everything_else = routes.block_all().SerializeToString(deterministic=True)
    between = (field(2, host) for host in (*hosts, everything_else) if host)
    return encode(RDS, name, b"".join((begin, *between, end)))


def _fetched(place: str, domains: tuple[str, ...], host: bytes, last: Resource | None) -> Resource:
    """A virtual host by itself."""
    name = on_demand.resource_name(names.HTTP_PROXY_ROUTES, place)
    aliases = (on_demand.resource_name(names.HTTP_PROXY_ROUTES, one) for one in domains)
    made = replace(encode(VHDS, name, host), aliases=tuple(one for one in aliases if one != name))
    return last if last is not None and last == made else made


FETCHED_TABLE = encode(
    RDS,
    names.HTTP_PROXY_ROUTES,
    on_demand.fetched(routes.configuration(names.HTTP_PROXY_ROUTES)).SerializeToString(
        deterministic=True
    ),
)
"""The table of routes of who fetches virtual hosts one by one."""
