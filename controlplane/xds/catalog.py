"""What the services of the mesh come to, made and encoded once for each as it is.

A Service that did not change is the same object from mesh to mesh (translation sees to it), and so
are its resources here. What can't be made of one is our own mistake: it is logged, and the
last that could stays, so that one bad service takes no other down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import clients, envoy, names, on_demand, patches, routes
from controlplane.emit.clients import Client
from controlplane.emit.envoy import Patches
from controlplane.emit.fitting import Attempt, fitted
from controlplane.mesh.model import Mesh, Service
from controlplane.resources import NO_LAYER, Layer, Resource
from controlplane.snapshot import Draft, check, encode
from controlplane.translate.differences import differences
from controlplane.xds import wire
from controlplane.xds.host_routes import HostRoutes, is_alike
from controlplane.xds.kept import Column, Kept
from controlplane.xds.troubles import Trouble
from controlplane.xds.views import Views
from protos.frozen import frozen
from protos.types import CDS, EDS, RDS, VHDS

log = logging.getLogger("weft.controlplane.xds")

HostOf = Callable[[Service, int, tuple[str, ...]], bytes]
"""The virtual host of a port of a service with these domains, serialized."""
Shape = tuple[object, ...]
"""What the names of a service depend on, by which clients call it."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A service's own resources. trouble: of those who call it."""

    clusters: tuple[Resource, ...] = ()
    endpoints: tuple[Resource, ...] = ()
    trouble: Trouble | None = None


@frozen
class _Facts:
    """Whether a service is the same to all clients, and which labels of theirs it asks for."""

    common: bool
    labels: frozenset[str]

    @classmethod
    def of(cls, service: Service, last: _Facts | None) -> _Facts:
        return cls(clients.is_common(service), frozenset(clients.labels_of(service)))


@frozen
class _Host:
    """A virtual host. value: the message, serialized; fetched: the resource of it alone (VHDS)."""

    domains: tuple[str, ...]
    value: bytes
    fetched: Resource


@dataclass(slots=True)
class _Routes:
    """Of the outbound HTTP proxies of some clients. before: hosts, and the layer of them."""

    shapes: Column[Shape] = field(default_factory=Column)
    hosts: Column[tuple[_Host, ...]] = field(default_factory=Column)
    domains: routes.Domains | None = None
    table: Resource | None = None
    fetched: Resource | None = None
    layer: Layer | None = None
    last: dict[str, Resource] = field(default_factory=dict)
    before: tuple[tuple[tuple[_Host, ...], ...], Layer] = ((), NO_LAYER)

    def text(self, alike: Patches) -> bytes:
        """The table with users' patches, serialized."""
        text = _table(host.value for group in self.hosts.values for host in group)
        if not alike:
            return text
        draft = patches.outbound(Draft(routes=(RouteConfiguration.FromString(text),)), alike)
        return draft.routes[0].SerializeToString(deterministic=True)

    def apart(self) -> Layer:
        """The hosts one by one, made of the last such layer, of which mostly little is new."""
        groups, (before, last) = self.hosts.values, self.before
        gone, new = differences(before, groups)
        made = last.exchanged(_fetched_of(gone), _fetched_of(new)) if before else None
        self.layer = made if made is not None else Layer(_by_name(_fetched_of(groups)))
        self.before = groups, self.layer
        return self.layer

    def patched(self, alike: Patches) -> Iterable[Resource]:
        """The same with users' patches, which may bring further ones."""
        hosts = RouteConfiguration.FromString(self.text(alike)).virtual_hosts
        made = [
            _fetched(host.name, tuple(host.domains), host.SerializeToString(deterministic=True))
            for host in hosts
            if host.name != names.BLOCK_ALL
        ]
        self.last = {one.name: one for one in _kept(made, self.last.values())}
        return self.last.values()


class Catalog:
    """Of one mesh after the other. `mesh` is the present one."""

    def __init__(self, mesh: Mesh) -> None:
        self.client_labels: frozenset[str] = frozenset()
        self._facts: Column[_Facts] = Column()
        self._encoded: Kept[Column[Encoded]] = Kept()
        self._views: Kept[Column[Service | None]] = Kept()
        self._routes: Kept[_Routes] = Kept()
        self._layers: Kept[Layer] = Kept()
        self._host_routes = HostRoutes()
        self._alike = Views()
        self._troubles: dict[Hashable, tuple[Trouble, ...]] = {}
        self.restate: Callable[[], None] = lambda: None
        self.use(mesh)

    def use(self, mesh: Mesh) -> None:
        """From now on everything is of this mesh."""
        for kept in (self._encoded, self._views, self._routes, self._layers):
            kept.sweep()
        known = self._encoded
        self._troubles = {k: found for k, found in self._troubles.items() if known.last(k)}
        self.mesh = mesh
        self._facts.update(mesh.services, (), _Facts.of)
        about = self._facts.values
        pairs = tuple(zip(mesh.services, about, strict=True))
        self.common = tuple([service for service, facts in pairs if facts.common])
        self.own = tuple([service for service, facts in pairs if not facts.common])
        self._alike.use(self.own)
        self._host_routes.use((*self.common, *self._alike.views()))
        asked = frozenset([name for facts in about for name in facts.labels])
        labels = asked.union(clients.labels_of_imports(mesh.imports))
        if labels != self.client_labels:
            self.client_labels = labels

    def views(self, client: Client) -> tuple[Service, ...]:
        """What such clients see of the services that are not the same to all."""
        column = self._views.made(client, Column)
        column.update(self.own, (), lambda service, _: self._alike.seen(service, client))
        return tuple(view for view in column.values if view is not None)

    # ------------------------------------------------------------------ clusters, endpoints

    def layers(
        self, name: Hashable, services: tuple[Service, ...], alike: Patches = ()
    ) -> dict[str, Layer]:
        """The clusters and endpoints of services, which are some client's or everybody's. alike:
        users' patches of them."""
        column = self._encoded.made(name, Column)
        domains = self.mesh.own_domains
        ground = (domains, alike)
        column.update(services, ground, lambda one, last: _tried(one, domains, alike, last))
        made = column.values
        self._note(name, made)
        clusters = {one.name: one for item in made for one in item.clusters}
        endpoints = {one.name: one for item in made for one in item.endpoints}
        return {CDS: self.layer((name, CDS), clusters), EDS: self.layer((name, EDS), endpoints)}

    def _note(self, name: Hashable, made: Iterable[Encoded]) -> None:
        found = tuple([one.trouble for one in made if one.trouble is not None])
        if found != self._troubles.get(name, ()):
            self._troubles[name] = found
            self.restate()

    def troubles(self) -> Iterable[Trouble]:
        """Of who has asked for `layers` of this mesh or the one before."""
        known = self._encoded
        return (one for name, found in self._troubles.items() if known.last(name) for one in found)

    def troubles_at(self, name: Hashable) -> tuple[Trouble, ...]:
        """Of the layers of this name."""
        return self._troubles.get(name, ())

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

    def table(self, client: Client, views: tuple[Service, ...], alike: Patches = ()) -> Resource:
        """The routes of the outbound HTTP proxy of such clients. views: see `views`."""
        made = self._routes_of(client, views, alike)
        if made.table is None:
            made.table = encode(RDS, names.HTTP_PROXY_ROUTES, made.text(alike))
        return made.table

    def fetched_table(
        self, client: Client, views: tuple[Service, ...], alike: Patches = ()
    ) -> Resource:
        """What of it a proxy on demand has from the start."""
        if not alike:
            return FETCHED_TABLE
        made = self._routes_of(client, views, alike)
        if made.fetched is None:
            table = on_demand.fetched(RouteConfiguration.FromString(made.text(alike)))
            text = table.SerializeToString(deterministic=True)
            made.fetched = encode(RDS, names.HTTP_PROXY_ROUTES, text)
        return made.fetched

    def hosts(self, client: Client, views: tuple[Service, ...], alike: Patches = ()) -> Layer:
        """The virtual hosts of that table one by one, by each of their domains (VHDS)."""
        made = self._routes_of(client, views, alike)
        if made.layer is None and alike:
            made.layer = Layer(_by_name(made.patched(alike)))
        return made.layer if made.layer is not None else made.apart()

    def _routes_of(self, client: Client, views: tuple[Service, ...], alike: Patches) -> _Routes:
        """Without a table and a layer where a virtual host is another one."""
        made = self._routes.made((client, alike), _Routes)
        services = self.known_to(client, views)
        if made.shapes.update(services, (), shape_of) or made.domains is None:
            made.domains = routes.Domains(services, client.namespace)
        domains = made.domains
        make = partial(_hosts, partial(self._host_routes.host, client), domains)
        changed = made.hosts.update(services, (domains,), make)
        if changed:
            made.table, made.fetched, made.layer = None, None, None
        return made

    def prepare(self) -> Iterator[None]:
        """Makes, a little at a time, what the first client on demand of a namespace would wait for;
        what can't be made is told when somebody asks."""
        for service in self.common:
            if is_alike(service):
                for port in routes.tcp_ports(service):
                    with suppress(Exception):
                        self._host_routes.prepare(service, port)
                yield

    def known_to(self, client: Client, views: tuple[Service, ...]) -> tuple[Service, ...]:
        """All that such clients may call by name. views: see `views`."""
        return clients.imported(self.seen(views), self.mesh.imports, client)

    def seen(self, views: tuple[Service, ...]) -> tuple[Service, ...]:
        """All that such clients may know."""
        if not views:
            return self.common
        return tuple(sorted((*self.common, *views), key=lambda one: one.hostname))


def _fetched_of(groups: Iterable[tuple[_Host, ...]]) -> Iterable[Resource]:
    return (host.fetched for group in groups for host in group if host.value)


def _by_name(found: Iterable[Resource]) -> dict[str, Resource]:
    return {name: one for one in found for name in (one.name, *one.aliases)}


def _tried(
    service: Service, domains: tuple[str, ...], alike: Patches, last: Encoded | None
) -> Encoded:
    """Without the patches that would leave something dangling."""

    def attempt(kept: Patches) -> Attempt[Draft]:
        try:
            draft = envoy.of_services((service,), domains, kept)
            return Attempt(draft, check(draft))
        except Exception as error:
            # Whatever it is, proxies must keep what they have and others get what is new.
            log.exception("configuration of %s cannot be built", service.hostname)
            return Attempt(problems=(str(error) or type(error).__name__,))

    found, last = fitted(alike, attempt), last or Encoded()
    draft, frozen = found.attempt.made, "; ".join(found.attempt.problems)
    who = f"clients of {service.hostname}"
    about = f"Service {service.namespace}/{service.name}"
    trouble = Trouble(who, found.left_out, frozen, about, service.position) or None
    if draft is None or frozen:
        log.error("configuration of %s stays as it was: %s", service.hostname, frozen)
        return replace(last, trouble=trouble)
    return _encoded(draft, last, trouble)


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
    host_of: HostOf, known: routes.Domains, service: Service, last: tuple[_Host, ...] | None
) -> tuple[_Host, ...]:
    """Of the ports of a service; what is as it was stays the same object."""
    before = {host.fetched.name: host for host in last or ()}
    made = []
    for port in routes.tcp_ports(service):
        if domains := tuple(known.of(service, port)):
            place = names.virtual_host(service.hostname, port)
            old = before.get(on_demand.resource_name(names.HTTP_PROXY_ROUTES, place))
            value = _host_value(host_of, service, port, domains, old)
            if old is None or (old.domains, old.value) != (domains, value):
                old = _Host(domains, value, _fetched(place, domains, value))
            made.append(old)
    return last if last is not None and last == tuple(made) else tuple(made)


def _host_value(
    host_of: HostOf, service: Service, port: int, domains: tuple[str, ...], last: _Host | None
) -> bytes:
    """Empty if it can't be made and never could."""
    try:
        return host_of(service, port, domains)
    except Exception as error:
        log.exception("routes of %s cannot be built: %s", service.hostname, error)
        return last.value if last is not None else b""


def _encoded(draft: Draft, last: Encoded, trouble: Trouble | None) -> Encoded:
    """What is as it was stays the same object."""
    types = draft.encode()
    return Encoded(
        _kept(types[CDS].values(), last.clusters),
        _kept(types[EDS].values(), last.endpoints),
        trouble,
    )


def _kept(made: Iterable[Resource], last: Iterable[Resource]) -> tuple[Resource, ...]:
    known = {one.name: one for one in last}
    return tuple(
        old if (old := known.get(new.name)) is not None and old.version == new.version else new
        for new in made
    )


def _table(hosts: Iterable[bytes]) -> bytes:
    """A RouteConfiguration, put together from its virtual hosts: messages are fields in a row, name
    1, virtual_hosts 2, and the others."""
    name = names.HTTP_PROXY_ROUTES
    begin = RouteConfiguration(name=name).SerializeToString()
    end = routes.configuration(name).SerializeToString(deterministic=True)[len(begin) :]
    everything_else = routes.block_all().SerializeToString(deterministic=True)
    between = (wire.field(2, host) for host in (*hosts, everything_else) if host)
    return b"".join((begin, *between, end))


def _fetched(place: str, domains: tuple[str, ...], host: bytes) -> Resource:
    """A virtual host by itself. It has the resource's name: Envoy removes it by its own one."""
    name = on_demand.resource_name(names.HTTP_PROXY_ROUTES, place)
    if host:
        host = wire.field(1, name.encode()) + host.removeprefix(wire.field(1, place.encode()))
    aliases = [on_demand.resource_name(names.HTTP_PROXY_ROUTES, one) for one in domains]
    return encode(VHDS, name, host, tuple([one for one in aliases if one != name]))


FETCHED_TABLE = encode(
    RDS,
    names.HTTP_PROXY_ROUTES,
    on_demand.fetched(routes.configuration(names.HTTP_PROXY_ROUTES)).SerializeToString(
        deterministic=True
    ),
)
"""The table of routes of who fetches virtual hosts one by one."""
