"""What the services of the mesh come to, made and encoded once for each as it is.

A Service that did not change is the same object from mesh to mesh (translation sees to it), and so
are its resources here. What can't be made of one is our own mistake: it is logged, and the
last that could stays, so that one bad service takes no other down.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import clients, envoy, names, on_demand, routes
from controlplane.emit.clients import Client
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Mesh, Service
from controlplane.resources import NO_LAYER, Layer, Resource
from controlplane.snapshot import check, encode
from controlplane.xds import wire
from controlplane.xds.kept import Column, Kept
from protos.types import CDS, EDS, RDS, VHDS

log = logging.getLogger("weft.controlplane.xds")

Shape = tuple[object, ...]
"""What the names of a service depend on, by which clients call it."""


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


@dataclass(frozen=True, slots=True)
class _Host:
    """A virtual host. value: the message, serialized; fetched: the resource of it alone (VHDS)."""

    domains: tuple[str, ...]
    value: bytes
    fetched: Resource


@dataclass(slots=True)
class _Routes:
    """Of the outbound HTTP proxies of some clients."""

    shapes: Column[Shape] = field(default_factory=Column)
    hosts: Column[tuple[_Host, ...]] = field(default_factory=Column)
    domains: routes.Domains | None = None
    table: Resource | None = None
    layer: Layer | None = None


class Catalog:
    """Of one mesh after the other. `mesh` is the present one."""

    def __init__(self, mesh: Mesh) -> None:
        self._facts: Column[_Facts] = Column()
        self._encoded: Kept[Column[Encoded]] = Kept()
        self._views: Kept[Column[Service | None]] = Kept()
        self._routes: Kept[_Routes] = Kept()
        self._layers: Kept[Layer] = Kept()
        self.use(mesh)

    def use(self, mesh: Mesh) -> None:
        """From now on everything is of this mesh."""
        for kept in (self._encoded, self._views, self._routes, self._layers):
            kept.sweep()
        self.mesh = mesh
        self._facts.update(mesh.services, (), _Facts.of)
        about = self._facts.values
        pairs = tuple(zip(mesh.services, about, strict=True))
        self.common = tuple([service for service, facts in pairs if facts.common])
        self.own = tuple([service for service, facts in pairs if not facts.common])
        asked = frozenset([name for facts in about for name in facts.labels])
        self.client_labels = asked.union(clients.labels_of_imports(mesh.imports))

    def views(self, client: Client) -> tuple[Service, ...]:
        """What such clients see of the services that are not the same to all."""
        column = self._views.made(client, Column)
        column.update(self.own, (), lambda service, _: clients.seen_by(service, client))
        return tuple(view for view in column.values if view is not None)

    # ------------------------------------------------------------------ clusters, endpoints

    def layers(self, name: Hashable, services: tuple[Service, ...]) -> dict[str, Layer]:
        """The clusters and endpoints of services, which are some client's or everybody's."""
        column = self._encoded.made(name, Column)
        domains = self.mesh.own_domains
        column.update(services, (domains,), lambda one, last: _tried(one, domains, last))
        made = column.values
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

    # ------------------------------------------------------------------ routes

    def table(self, client: Client, views: tuple[Service, ...]) -> Resource:
        """The routes of the outbound HTTP proxy of such clients. views: see `views`."""
        made, changed = self._routes_of(client, views)
        if changed or made.table is None:
            made.table = _table(host.value for group in made.hosts.values for host in group)
        return made.table

    def hosts(self, client: Client, views: tuple[Service, ...]) -> Layer:
        """The virtual hosts of that table one by one, by each of their domains (VHDS)."""
        made, changed = self._routes_of(client, views)
        if changed or made.layer is None:
            found: dict[str, Resource] = {}
            for host in (host for group in made.hosts.values for host in group if host.value):
                found |= dict.fromkeys((host.fetched.name, *host.fetched.aliases), host.fetched)
            made.layer = Layer(found)
        return made.layer

    def _routes_of(self, client: Client, views: tuple[Service, ...]) -> tuple[_Routes, bool]:
        """And whether there is another virtual host."""
        made = self._routes.made(client, _Routes)
        services = self.known_to(client, views)
        if made.shapes.update(services, (), shape_of) or made.domains is None:
            made.domains = routes.Domains(services, client.namespace)
        domains = made.domains
        make = partial(_hosts, client, domains)
        changed = made.hosts.update(services, (domains,), make)
        if changed:
            made.table, made.layer = None, None
        return made, changed

    def known_to(self, client: Client, views: tuple[Service, ...]) -> tuple[Service, ...]:
        """All that such clients may call by name. views: see `views`."""
        services = self.common
        if views:
            services = tuple(sorted((*services, *views), key=lambda one: one.hostname))
        return clients.imported(services, self.mesh.imports, client)


def _tried(service: Service, domains: tuple[str, ...], last: Encoded | None) -> Encoded:
    try:
        return _encoded(service, domains, last or Encoded())
    except Exception as error:
        # Whatever it is, proxies must keep what they have and others get what is new.
        log.exception("configuration of %s cannot be built: %s", service.hostname, error)
        return last or Encoded()


def _alike(one: dict[str, Resource], other: dict[str, Resource]) -> bool:
    return all(other[name] is resource for name, resource in one.items())


def shape_of(service: Service, last: Shape | None) -> Shape:
    """What virtual hosts' domains depend on."""
    shape = (
        *(service.hostname, service.namespace, service.ports),
        *(service.aliases, service.local_aliases, service.addresses),
    )
    return last if last == shape else shape


def _hosts(
    client: Client, known: routes.Domains, service: Service, last: tuple[_Host, ...] | None
) -> tuple[_Host, ...]:
    """Of the ports of a service; what is as it was stays the same object."""
    before = {host.fetched.name: host for host in last or ()}
    made = []
    for port in routes.tcp_ports(service):
        if domains := tuple(known.of(service, port)):
            place = names.virtual_host(service.hostname, port)
            old = before.get(on_demand.resource_name(names.HTTP_PROXY_ROUTES, place))
            value = _host_value(client, service, port, domains, old)
            if old is None or (old.domains, old.value) != (domains, value):
                old = _Host(domains, value, _fetched(place, domains, value))
            made.append(old)
    return last if last is not None and last == tuple(made) else tuple(made)


def _host_value(
    client: Client, service: Service, port: int, domains: tuple[str, ...], last: _Host | None
) -> bytes:
    """Empty if it can't be made and never could."""
    try:
        host = routes.proxied(service, port, list(domains), client, Targets(()))
        return host.SerializeToString(deterministic=True)
    except Exception as error:
        log.exception("routes of %s cannot be built: %s", service.hostname, error)
        return last.value if last is not None else b""


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
    between = (wire.field(2, host) for host in (*hosts, everything_else) if host)
    return encode(RDS, name, b"".join((begin, *between, end)))


def _fetched(place: str, domains: tuple[str, ...], host: bytes) -> Resource:
    """A virtual host by itself."""
    name = on_demand.resource_name(names.HTTP_PROXY_ROUTES, place)
    aliases = (on_demand.resource_name(names.HTTP_PROXY_ROUTES, one) for one in domains)
    return replace(encode(VHDS, name, host), aliases=tuple(one for one in aliases if one != name))


FETCHED_TABLE = encode(
    RDS,
    names.HTTP_PROXY_ROUTES,
    on_demand.fetched(routes.configuration(names.HTTP_PROXY_ROUTES)).SerializeToString(
        deterministic=True
    ),
)
"""The table of routes of who fetches virtual hosts one by one."""
