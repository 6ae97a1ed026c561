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
from typing import NamedTuple

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import clients, envoy, names, on_demand, patches, routes
from controlplane.emit.clients import Client
from controlplane.emit.envoy import Patches
from controlplane.emit.fitting import Attempt, fitted
from controlplane.mesh.model import Mesh, Service
from controlplane.resources import NO_LAYER, Layer, Resource
from controlplane.snapshot import Draft, check, encode
from controlplane.translate.differences import differences
from controlplane.xds import host_routes, wire
from controlplane.xds.domains import Called, Directory
from controlplane.xds.host_routes import Host, HostRoutes, fetched, is_alike
from controlplane.xds.kept import Column, Kept, same
from controlplane.xds.troubles import Trouble
from controlplane.xds.views import Views
from protos.frozen import frozen
from protos.types import CDS, EDS, RDS

log = logging.getLogger("weft.controlplane.xds")

HostOf = Callable[[Service, int, tuple[str, ...]], Host]
"""The virtual host of a port of a service with these domains."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A service's own resources. trouble: of those who call it."""

    clusters: tuple[Resource, ...] = ()
    endpoints: tuple[Resource, ...] = ()
    trouble: Trouble | None = None


_Ground = tuple[tuple[str, ...], Patches]
"""The trust domains, and users' patches."""


class _OfView(NamedTuple):
    """What was made of it on this ground."""

    view: Service
    ground: _Ground
    made: Encoded


@frozen
class _Facts:
    """Whether a service is the same to all clients, and which labels of theirs it asks for."""

    common: bool
    labels: frozenset[str]

    @classmethod
    def of(cls, service: Service, last: _Facts | None) -> _Facts:
        return cls(clients.is_common(service), frozenset(clients.labels_of(service)))


@dataclass(slots=True)
class _Routes:
    """Of the outbound HTTP proxies of some clients. before: hosts, and the layer of them."""

    hosts: Column[tuple[Host, ...]] = field(default_factory=Column)
    called: Called | None = None
    table: Resource | None = None
    fetched: Resource | None = None
    layer: Layer | None = None
    last: dict[str, Resource] = field(default_factory=dict)
    before: tuple[tuple[tuple[Host, ...], ...], Layer] = ((), NO_LAYER)

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
        self.layer = made if made is not None else Layer.by_all_names(_fetched_of(groups))
        self.before = groups, self.layer
        return self.layer

    def patched(self, alike: Patches) -> tuple[Resource, ...]:
        """The same with users' patches, which may bring further ones."""
        hosts = RouteConfiguration.FromString(self.text(alike)).virtual_hosts
        made = [
            fetched(host.name, tuple(host.domains), host.SerializeToString(deterministic=True))
            for host in hosts
            if host.name != names.BLOCK_ALL
        ]
        self.last = {one.name: one for one in _kept(made, self.last.values())}
        return tuple(self.last.values())


class Catalog:
    """Of one mesh after the other. `mesh` is the present one."""

    def __init__(self, mesh: Mesh) -> None:
        self.client_labels: frozenset[str] = frozenset()
        self._facts: Column[_Facts] = Column()
        self._encoded: Kept[Column[Encoded]] = Kept()
        self._views: Kept[Column[Service | None]] = Kept()
        self._routes: Kept[_Routes] = Kept()
        self._layers: Kept[Layer] = Kept()
        self.directory = Directory()
        self._host_routes = HostRoutes()
        self._alike = Views()
        self._of_views: dict[int, _OfView] = {}
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
        self.directory.use(mesh.services)
        self._facts.update(mesh.services, (), _Facts.of)
        about = self._facts.values
        pairs = tuple(zip(mesh.services, about, strict=True))
        self.common = tuple([service for service, facts in pairs if facts.common])
        self.own = tuple([service for service, facts in pairs if not facts.common])
        self._alike.use(self.own)
        views = tuple(self._alike.views())
        self._host_routes.use((*self.common, *views))
        there = set(map(id, views))
        self._of_views = {key: one for key, one in self._of_views.items() if key in there}
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
        make = partial(_tried if services is self.common else self._once, ground)
        column.update(services, ground, make)
        made = column.values
        self._note(name, made)
        clusters = {one.name: one for item in made for one in item.clusters}
        endpoints = {one.name: one for item in made for one in item.endpoints}
        return {CDS: self.layer((name, CDS), clusters), EDS: self.layer((name, EDS), endpoints)}

    def _once(self, ground: _Ground, view: Service, last: Encoded | None) -> Encoded:
        """Clients who see the same share what was made of it without trouble."""
        known = self._of_views.get(id(view))
        if known is None or known.view is not view or not same(known.ground, ground):
            made = _tried(ground, view, last)
            if made.trouble is None:
                self._of_views[id(view)] = _OfView(view, ground, made)
            return made
        if last is None:
            return known.made
        clusters = _kept(known.made.clusters, last.clusters)
        return Encoded(clusters, _kept(known.made.endpoints, last.endpoints))

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
            made.layer = Layer.by_all_names(made.patched(alike))
        return made.layer if made.layer is not None else made.apart()

    def _routes_of(self, client: Client, views: tuple[Service, ...], alike: Patches) -> _Routes:
        """Without a table and a layer where a virtual host is another one."""
        made = self._routes.made((client, alike), _Routes)
        services = self.known_to(client, views)
        called = made.called = self.directory.called(services, client.namespace, made.called)
        make = partial(_hosts, partial(self._host_routes.host, client), called)
        changed = made.hosts.update(services, (called,), make)
        if changed:
            made.table, made.fetched, made.layer = None, None, None
        return made

    def prepare(self) -> Iterator[None]:
        """Makes, a little at a time, what the first client on demand of a namespace would wait for;
        what can't be made is told when somebody asks."""
        self.directory.look()
        yield
        for service in self.common:
            if is_alike(service):
                for port in routes.tcp_ports(service):
                    with suppress(Exception):
                        self._host_routes.prepare(service, port)
                yield

    def prepare_for(self, client: Client, alike: Patches, *, http: bool) -> Iterator[None]:
        """Makes, a little at a time, what the first of such clients would wait for. alike: users'
        patches of clusters; http: they have the outbound HTTP proxy."""
        services, column = self.own, self._views.made(client, Column)
        ground, seen = (self.mesh.own_domains, alike), list[Service | None]()
        for service in services if column.is_empty else ():
            view = self._alike.seen(service, client)
            seen.append(view)
            if view is not None:
                self._once(ground, view, None)
            yield
        if column.is_empty and services is self.own:
            column.fill(services, tuple(seen))
        if not http:
            return
        known = self.known_to(client, self.views(client))
        called = self.directory.called(known, client.namespace, None)
        for service in known:
            for port in routes.tcp_ports(service):
                with suppress(Exception):  # it is told when the client gets it
                    if domains := called.of(service, port):
                        self._host_routes.host(client, service, port, domains)
            yield

    def known_to(self, client: Client, views: tuple[Service, ...]) -> tuple[Service, ...]:
        """All that such clients may call by name. views: see `views`."""
        return clients.imported(self.seen(views), self.mesh.imports, client)

    def seen(self, views: tuple[Service, ...]) -> tuple[Service, ...]:
        """All that such clients may know."""
        if not views:
            return self.common
        return tuple(sorted((*self.common, *views), key=lambda one: one.hostname))


def _fetched_of(groups: Iterable[tuple[Host, ...]]) -> list[Resource]:
    return [host.fetched for group in groups for host in group if host.value]


def _tried(ground: _Ground, service: Service, last: Encoded | None) -> Encoded:
    """Without the patches that would leave something dangling."""
    domains, alike = ground

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


def _hosts(
    host_of: HostOf, called: Called, service: Service, last: tuple[Host, ...] | None
) -> tuple[Host, ...]:
    """Of the ports of a service; what is as it was stays the same object."""
    before = {host.fetched.name: host for host in last or ()}
    made = []
    for port in routes.tcp_ports(service):
        if domains := called.of(service, port):
            host = _tried_host(host_of, service, port, domains, before)
            old = before.get(host.fetched.name)
            made.append(old if old is not None and old == host else host)
    found = tuple(made)
    return last if last is not None and last == found else found


def _tried_host(
    host_of: HostOf,
    service: Service,
    port: int,
    domains: tuple[str, ...],
    before: dict[str, Host],
) -> Host:
    """That of before if it can't be made; empty if it never could."""
    try:
        return host_of(service, port, domains)
    except Exception as error:
        log.exception("routes of %s cannot be built: %s", service.hostname, error)
        empty = host_routes.host_of(service, port, domains, b"")
        old = before.get(empty.fetched.name)
        value = old.value if old is not None else b""
        return host_routes.host_of(service, port, domains, value)


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


FETCHED_TABLE = encode(
    RDS,
    names.HTTP_PROXY_ROUTES,
    on_demand.fetched(routes.configuration(names.HTTP_PROXY_ROUTES)).SerializeToString(
        deterministic=True
    ),
)
"""The table of routes of who fetches virtual hosts one by one."""
