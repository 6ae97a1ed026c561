"""Snapshots of gRPC's own clients and servers: made of services one by one, as for Envoys.

    layer      of whom
    common     services that all clients see alike: clusters and endpoints
    seen       those that clients of a namespace (and labels) see in their own way
    ways       all names by which these clients call services, and the routes behind them
    own        one workload: the listeners of its servers

What is lost to a gRPC client is told of those services only that one of them has asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from controlplane.emit import clients
from controlplane.emit.clients import Client
from controlplane.emit.node import Node
from controlplane.emit.proxyless import listeners, unpatched, whole
from controlplane.emit.proxyless.whole import Made
from controlplane.mesh.model import Service, Status
from controlplane.resources import NO_LAYER, Layer, Resource, Snapshot, assemble, of_layers
from controlplane.snapshot import Draft
from controlplane.xds.catalog import Catalog
from controlplane.xds.domains import Called
from controlplane.xds.kept import Column, Kept
from protos.types import CDS, EDS, LDS, RDS

log = logging.getLogger("weft.controlplane.xds")

MAX_CALLERS = 1_000
"""Kinds of nodes of which it is remembered what they call."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Of one service or workload, encoded."""

    hostname: str
    types: dict[str, Layer] = field(default_factory=dict)
    statuses: tuple[Status, ...] = ()
    clusters: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Ways:
    """To services, of some clients."""

    parts: Column[_Part] = field(default_factory=Column)
    called: Called | None = None


class Proxyless:
    def __init__(self, catalog: Catalog, revoked: Callable[[], tuple[str, ...]]) -> None:
        """catalog: of the present mesh. revoked: the identities that servers are to refuse."""
        self._catalog = catalog
        self._revoked = revoked
        self._columns: Kept[Column[_Part]] = Kept()
        self._ways: Kept[_Ways] = Kept()
        self._own: Kept[_Part] = Kept()
        self._made: Kept[Snapshot] = Kept()
        self._shared: Kept[dict[str, tuple[Layer, ...]]] = Kept()
        self._called: dict[Node, set[str]] = {}

    def sweep(self) -> None:
        """There is another mesh."""
        self._columns.sweep()
        self._ways.sweep()
        self._shared.sweep()
        self._own.sweep()
        self._made.sweep()

    def snapshot(self, node: Node) -> Snapshot:
        """Made once of each mesh for all nodes that are alike."""
        ground = (self._catalog.mesh, self._revoked())
        return self._made.get(_kind(node), ground, lambda last: self._make(node, last))

    def _make(self, node: Node, last: Snapshot | None) -> Snapshot:
        """What has the same layers is the same object."""
        client = self._client(node)
        shared = self._shared.get(client, (self._catalog.mesh,), lambda _: self._layers_of(client))
        own = self._own_part(node).types
        types = {
            url: of_layers((*layers, own.get(url, NO_LAYER)), 0) for url, layers in shared.items()
        }
        if last is not None and all(last.of(url) is found for url, found in types.items()):
            return last
        return assemble(types)

    def _layers_of(self, client: Client) -> dict[str, tuple[Layer, ...]]:
        """Of all that is the same to such clients, by type."""
        groups = self._groups_of(client)
        found: dict[str, tuple[Layer, ...]] = {}
        for type_url in (CDS, EDS, LDS, RDS):
            layers = []
            for name, parts in groups.items():
                merged: dict[str, Resource] = {}
                for part in parts:
                    merged |= part.types.get(type_url, {})
                key = "grpc", name, None if name == "common" else client, type_url
                layers.append(self._catalog.layer(key, merged))
            found[type_url] = tuple(layers)
        return found

    # ------------------------------------------------------------------ what is lost

    def note(self, node: Node, names: Iterable[str]) -> bool:
        """Remembers that such a node has asked for resources of these names; True if that is new
        and something may be to tell about it."""
        key = _kind(node)
        if key not in self._called and len(self._called) >= MAX_CALLERS:
            return False
        known = self._called.setdefault(key, set())
        fresh = {asked for name in names if (asked := _hostname(name)) and asked not in known}
        known |= fresh
        return bool(fresh)

    def statuses(self) -> tuple[Status, ...]:
        """What the nodes that were noted do without."""
        told: dict[Status, None] = {}
        for node, called in self._called.items():
            for part in self._parts_of(node):
                if part.hostname in called:
                    told |= dict.fromkeys(part.statuses)
            services, serves = called - {listeners.SERVER}, listeners.SERVER in called
            mesh = self._catalog.mesh
            told |= dict.fromkeys(unpatched.statuses(mesh, node, services, serves))
        return tuple(told)

    # ------------------------------------------------------------------ parts

    def _client(self, node: Node) -> Client:
        return clients.client_of(node, self._catalog.client_labels)

    def _parts_of(self, node: Node) -> Iterator[_Part]:
        for parts in self._groups_of(self._client(node)).values():
            yield from parts
        yield self._own_part(node)

    def _groups_of(self, client: Client) -> dict[str, tuple[_Part, ...]]:
        common = self._targets("common", self._catalog.common)
        views = self._catalog.views(client)
        seen = self._targets(client, views)
        ways = self._ways_of(client, views)
        here = {name for part in (*common, *seen) for name in part.types.get(CDS, ())}
        named = {name for part in ways for name in part.clusters}
        missing = _Part("", whole.empty(named - here).encode())
        return {"common": common, "seen": seen, "ways": ways, "missing": (missing,)}

    def _targets(self, key: Hashable, services: tuple[Service, ...]) -> tuple[_Part, ...]:
        column = self._columns.made(key, Column)
        domains = self._catalog.mesh.own_domains

        def make(service: Service, last: _Part | None) -> _Part:
            return _tried(service.hostname, partial(whole.of_service, service, domains), last)

        column.update(services, (domains,), make)
        return column.values

    def _ways_of(self, client: Client, views: tuple[Service, ...]) -> tuple[_Part, ...]:
        made = self._ways.made(client, _Ways)
        services = self._catalog.known_to(client, views)
        directory, namespace = self._catalog.directory, client.namespace
        called = made.called = directory.called(services, namespace, made.called)

        def make(service: Service, last: _Part | None) -> _Part:
            build = partial(whole.ways_to, service, called.of, client)
            return _tried(service.hostname, build, last)

        made.parts.update(services, (called,), make)
        return made.parts.values

    def _own_part(self, node: Node) -> _Part:
        server = whole.server_of(self._catalog.mesh, node, self._revoked())

        def make(last: _Part | None) -> _Part:
            return _tried(listeners.SERVER, partial(whole.of_server, server), last)

        return self._own.get(_kind(node), (server,), make)


def _kind(node: Node) -> Node:
    """All of it but for its name."""
    return replace(node, id="", user_agent="")


def _tried(name: str, build: Callable[[], Made], last: _Part | None) -> _Part:
    """name: of whom it is told what was lost."""
    try:
        made = build()
    except Exception as error:
        # Whatever it is, clients must keep what they have and others get what is new.
        log.exception("gRPC configuration of %s cannot be built: %s", name, error)
        return last or _Part(name)
    return _Part(name, _kept(made.draft, last), made.statuses, made.clusters)


def _kept(draft: Draft, last: _Part | None) -> dict[str, Layer]:
    """What is as it was stays the same object."""
    types = draft.encode()
    before = last.types if last is not None else {}
    return {
        url: old if (old := before.get(url)) is not None and _alike(old, layer) else layer
        for url, layer in types.items()
    }


def _alike(old: Layer, new: Layer) -> bool:
    return old.keys() == new.keys() and all(old[k].version == r.version for k, r in new.items())


def _hostname(name: str) -> str:
    """Of the service whose routes have this name, or the word for a workload's own servers."""
    if name.startswith(listeners.SERVER):
        return listeners.SERVER
    return name.rpartition("|")[2] if name.startswith("outbound|") else ""
