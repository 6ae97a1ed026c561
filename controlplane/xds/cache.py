"""Snapshots by node, built when asked for and made of layers that many nodes share.

    layer      of whom
    shared     everybody: services that all clients see alike
    scope      clients of a namespace (and labels): other services, routes, credentials
    held       of these what nobody has to ask for on demand
    own        one node: its inbound side, its listeners
    needed     one node on demand: services' clusters that its listeners name
    secrets    one node, mostly the same for all
    extras     one node, while a rehearsal runs

A node whose layers did not change has the same Snapshot, found by identity. A user's patch that
would leave something dangling is left out. What can't be built or dangles without it is our own
mistake: the last good one stays in force, so that one bad part takes nothing else down. Both are
told in `statuses`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.emit import clients, credentials, envoy, on_demand
from controlplane.emit.clients import Client
from controlplane.emit.fitting import Attempt, fitted
from controlplane.emit.node import Node, seated
from controlplane.emit.patch_tables import ROUTES
from controlplane.emit.patches import asked_of
from controlplane.emit.sidecars.capture import Capture
from controlplane.mesh.model import Mesh, Service, Status, Workload
from controlplane.resources import (
    NO_LAYER,
    Layer,
    Resource,
    Resources,
    Snapshot,
)
from controlplane.snapshot import Draft, check
from controlplane.xds import troubles
from controlplane.xds.captured import Beside, Captured
from controlplane.xds.catalog import Catalog
from controlplane.xds.kept import Kept, same
from controlplane.xds.parts import NO_PART, Assembly, Part, assembled
from controlplane.xds.proxyless import Proxyless
from controlplane.xds.troubles import Trouble, name_of
from protos.frozen import frozen
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS

log = logging.getLogger("weft.controlplane.xds")

SecretsFor = Callable[[Node], Iterable[Secret]]
"""The secrets of an admitted node."""

MAX_SEATS = 10_000
"""Nodes of which is known what they have, in one mesh."""
MAX_SECRETS = 10_000
"""Sets of secrets that are kept encoded."""


_NOT_LAZY: frozenset[str] = frozenset()
_LAZY = frozenset((CDS, EDS, LDS, VHDS))
"""Of these types a node on demand gets what it names, and of no service what it does not."""


@dataclass(slots=True, eq=False)
class _Scope:
    """Nodes that are alike: one object for all of them. proxies_http: they have the outbound HTTP
    proxy."""

    client: Client
    proxies_http: bool
    on_demand: bool
    alike: envoy.Patches
    capture: Capture | None


@frozen
class _Shares:
    """What the nodes of a scope have. by_name: on demand, if they ask for it. needed: clusters of
    services that they have to have unasked."""

    by_name: Part
    held: Part = NO_PART
    needed: frozenset[str] = frozenset()


@frozen
class _Own:
    """A node's own part, and of what it was made. clusters: of services, that listeners name."""

    of: envoy.Beside
    part: Part
    clusters: frozenset[str] = frozenset()
    trouble: Trouble | None = None


@dataclass(slots=True, eq=False)
class _Seat:
    """Of one who asks: what was found on `ground`, which is all that does not depend on services,
    and the snapshot that it has. revoked: identities that count no more. extra: it has something
    of a rehearsal."""

    asker: Node
    ground: tuple[object, ...] = ()
    labels: frozenset[str] = frozenset()
    beside: Workload | None = None
    key: Node | None = None
    scope: _Scope | None = None
    own: _Own | None = None
    epoch: int = 0
    revoked: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    extra: bool = False
    assembly: Assembly | None = None


class SnapshotCache:
    def __init__(
        self, mesh: Mesh, secrets_for: SecretsFor, revoked: Callable[[], tuple[str, ...]] = tuple
    ) -> None:
        """revoked: the identities that plain Envoys are to refuse. restate is called when
        `statuses` are others."""
        self._revoked = revoked
        self._secrets_for = secrets_for
        self.extras_for: Callable[[Node], Draft] | None = None
        self.restate: Callable[[], None] = lambda: None
        self._judged: envoy.Patches = ()
        self._catalog = Catalog(mesh)
        self._catalog.restate = lambda: self.restate()
        self.proxyless = Proxyless(self._catalog, revoked)
        self._captured = Captured()
        self._captured.restate = lambda: self.restate()
        self._captures: Kept[Capture | None] = Kept()
        self._shared = NO_PART
        self._scopes: dict[_Scope, _Shares] = {}
        self._known_scopes: dict[tuple[object, ...], _Scope] = {}
        self._parts: Kept[Part] = Kept()
        self._joins: Kept[Layer] = Kept()
        self._named: Kept[Layer] = Kept()
        self._keys: Kept[Node] = Kept()
        self._meant: Kept[Node] = Kept()
        self._own: Kept[_Own] = Kept()
        self._patches: Kept[envoy.Patches] = Kept()
        self._shared_by: dict[envoy.Patches, Part] = {}
        self._seats: Kept[_Seat] = Kept()
        self._assemblies: Kept[Assembly] = Kept()
        self._epoch = 0
        self._ground: tuple[object, ...] = ()
        self._asked: frozenset[str] = frozenset()
        self._secrets: dict[tuple[int, ...], tuple[tuple[Secret, ...], Part]] = {}
        self.set_mesh(mesh)

    @property
    def mesh(self) -> Mesh:
        return self._catalog.mesh

    def set_mesh(self, mesh: Mesh) -> None:
        """From now on snapshots are of this mesh."""
        catalog = self._catalog
        catalog.use(mesh)
        self._parts.sweep()
        self._joins.sweep()
        self._named.sweep()
        self._keys.sweep()
        self._meant.sweep()
        self._own.sweep()
        self._seats.sweep()
        self._assemblies.sweep()
        self._patches.sweep()
        self.proxyless.sweep()
        self._captured.sweep()
        self._captures.sweep()
        self._known_scopes = {
            k: one for k, one in self._known_scopes.items() if one in self._scopes
        }
        self._scopes = {}
        self._epoch += 1
        ground = tuple(getattr(mesh, name) for name in _GROUND)
        if not same(ground, self._ground):
            self._ground = ground
            self._asked = asked_of(mesh.patches)
        self._shared_by = {}
        self._shared = self._shared_with(())

    def snapshot(self, node: Node) -> Snapshot:
        """Everything for `node`. The same content has the same version, for any node."""
        if node.dialect == "grpc":
            return self.proxyless.snapshot(node)
        revoked, secrets = self._revoked(), tuple(self._secrets_for(node))
        if self._seats.size > MAX_SEATS:
            self._seats = Kept()
        seat = self._seats.made(id(node), partial(_Seat, node))
        made = seat.assembly
        if (
            made is None
            or seat.epoch != self._epoch
            or seat.revoked != revoked
            or not same(seat.secrets, secrets)
            or self.extras_for is not None
            or seat.extra
        ):
            made = seat.assembly = self._made(seat, revoked, secrets)
            seat.revoked, seat.secrets, seat.epoch = revoked, secrets, self._epoch
            seat.extra = self.extras_for is not None
        return made.snapshot

    @property
    def alike(self) -> str:
        """The version of what all clients see alike of services, but for their routes."""
        return " ".join(f"{layer.digest:x}" for layer in self._shared.layers)

    @property
    def apart(self) -> tuple[Service, ...]:
        """The services that clients see differently."""
        return self._catalog.own

    def prepare(self) -> Iterator[None]:
        """Makes what the first proxies would wait for, a little at a time."""
        return self._catalog.prepare()

    def preparation(self, node: Node) -> tuple[Hashable, Iterator[None]] | None:
        """Of what a node shares with others, if it is the first: a key of all who are alike, and
        what makes it a little at a time."""
        if node.dialect == "grpc":
            return None
        key, node, beside = self._place(node)
        alike = self._alike(key, node, beside)
        scope = self._scope(key, alike, self._capture(key, node, beside))
        return (scope, self._prepared(scope)) if scope not in self._scopes else None

    def _prepared(self, scope: _Scope) -> Iterator[None]:
        catalog, client = self._catalog, scope.client
        yield from catalog.prepare_for(client, _of_clusters(scope.alike), http=scope.proxies_http)
        if scope.capture is not None:
            seen, published = catalog.seen(catalog.views(client)), catalog.mesh.published
            yield from self._captured.prepare(client, scope.capture, seen, published, scope.alike)

    def judge(self, nodes: Iterable[Node]) -> None:
        """Tries patches that are new on the nodes that are here, so that `statuses` has them."""
        if self.mesh.patches == self._judged:
            return
        self._judged = self.mesh.patches
        for node in nodes:
            self.snapshot(node)

    def statuses(self) -> tuple[Status, ...]:
        """What is not in force, of those nodes that have asked."""
        own = (one.trouble for one in self._own.values() if one.trouble and one.trouble.who)
        shared = (*self._captured.troubles(), *self._catalog.troubles())
        return troubles.statuses((*own, *shared), self.mesh.patches)

    def left_out(self, node: Node) -> tuple[str, ...]:
        """Users' patches that what this node has asked for does without, in words."""
        if not self.mesh.patches or node.dialect == "grpc":
            return ()
        key, node, beside = self._place(node)
        alike = self._alike(key, node, beside)
        client, of_clusters = self._client(node), _of_clusters(alike)
        own, capture = self._own.last(key), self._capture(key, node, beside)
        found = [own[1].trouble if own is not None else None]
        if capture is not None:
            found.append(self._captured.trouble_of(client, capture, alike))
        for name in (("shared", of_clusters), (client, of_clusters)):
            found += self._catalog.troubles_at(name)
        return troubles.left_out(one for one in found if one is not None)

    def _place(self, asker: Node) -> tuple[Node, Node, Workload | None]:
        """The key of a node, what it is meant to be, and its workload."""
        node, settings = asker, self.mesh.interception
        beside = self.mesh.workload_of(node.namespace, node.pod, node.workload)
        if settings.http_proxy_port:
            ground = (settings, asker)
            node = self._meant.get(id(asker), ground, lambda _: envoy.meant(settings, asker))
        key = self._keys.get(
            id(asker), (node, beside, self._asked), partial(_own_key, node, beside, self._asked)
        )
        return key, node, beside

    def _made(self, seat: _Seat, revoked: tuple[str, ...], secrets: tuple[Secret, ...]) -> Assembly:
        own, scope = self._seated(seat, revoked)
        found, node = self._scoped(scope), seat.asker
        shared, extras = self._shared_with(scope.alike), NO_PART
        if self.extras_for is not None:
            extras = Part(self.extras_for(node).encode())
        needed, unasked = NO_PART, own.clusters | found.needed
        if node.on_demand and unasked:
            needed = self._needed(seat, unasked, shared, found.by_name)
        mine = own.part, needed, self._encoded(secrets), extras
        parts = (shared, found.by_name, found.held, *mine)
        lazy = _LAZY if node.on_demand else _NOT_LAZY
        if seat.assembly is not None:
            return assembled(parts, lazy, _OF_SERVICES, seat.assembly)
        alike = self._assemblies.last(seat.key)
        made = assembled(parts, lazy, _OF_SERVICES, alike[1] if alike is not None else None)
        return self._assemblies.put(seat.key, made)

    def _seated(self, seat: _Seat, revoked: tuple[str, ...]) -> tuple[_Own, _Scope]:
        """Looked at again where something of a node's place may be another: not for a change of
        services, unless it is a gateway, or its own side is in trouble."""
        mesh, asker, own, scope = self.mesh, seat.asker, seat.own, seat.scope
        beside = mesh.workload_of(asker.namespace, asker.pod, asker.workload)
        labels = self._catalog.client_labels
        if (
            own is not None
            and scope is not None
            and seat.ground is self._ground
            and seat.beside is beside
            and seat.labels is labels
            and seat.revoked == revoked
            and not own.of.follows_services
            and own.trouble is None
        ):
            return own, scope
        key, node, beside = self._place(asker)
        alike = self._alike(key, node, beside)
        seat.scope = self._scope(key, alike, self._capture(key, node, beside))
        if own is not None and key == seat.key and self._own.last(key) is None:
            self._own.put(key, own)
        seat.own = self._own_part(key, node, self._scoped(seat.scope), beside)
        seat.key, seat.ground, seat.beside, seat.labels = key, self._ground, beside, labels
        return seat.own, seat.scope

    # ------------------------------------------------------------------ scopes

    def _alike(self, key: Node, node: Node, beside: Workload | None) -> envoy.Patches:
        """Users' patches of what the node shares with others."""
        mesh = self.mesh
        if not mesh.patches and node.settings is None:
            return ()
        ground = (mesh.patches, mesh.gateways, beside)
        return self._patches.get(key, ground, lambda _: envoy.alike_patches(mesh, node))

    def _shared_with(self, alike: envoy.Patches) -> Part:
        of_clusters = _of_clusters(alike)
        if of_clusters not in self._shared_by:
            name = ("shared", of_clusters)
            layers = self._catalog.layers(name, self._catalog.common, of_clusters)
            self._shared_by[of_clusters] = self._part(name, layers)
        return self._shared_by[of_clusters]

    def _capture(self, key: Node, node: Node, beside: Workload | None) -> Capture | None:
        if not node.intercepts:
            return None
        mesh = self.mesh
        said = (mesh.logs, mesh.metrics, mesh.traces, mesh.rule_filters)
        ground = (mesh.sidecars, mesh.interception, *said, beside)
        return self._captures.get(key, ground, lambda _: envoy.capture_for(mesh, node))

    def _scope(self, node: Node, alike: envoy.Patches, capture: Capture | None) -> _Scope:
        key = (self._client(node), bool(node.http_proxy_port), node.on_demand, alike, capture)
        return self._known_scopes.setdefault(key, _Scope(*key))

    def _scoped(self, scope: _Scope) -> _Shares:
        if scope not in self._scopes:
            self._scopes[scope] = self._made_scope(scope)
        return self._scopes[scope]

    def _client(self, node: Node) -> Client:
        return clients.client_of(node, self._catalog.client_labels)

    def _made_scope(self, scope: _Scope) -> _Shares:
        catalog, client, of_clusters = self._catalog, scope.client, _of_clusters(scope.alike)
        views = catalog.views(client)
        types = catalog.layers((client, of_clusters), views, of_clusters)
        of_routes = tuple(one for one in scope.alike if one.apply_to in ROUTES)
        if scope.proxies_http and scope.on_demand:
            table = catalog.fetched_table(client, views, of_routes)
            types[RDS] = catalog.layer(("fetched", of_routes), {table.name: table})
            types[VHDS] = catalog.hosts(client, views, of_routes)
        elif scope.proxies_http:
            table = catalog.table(client, views, of_routes)
            types[RDS] = catalog.layer((client, of_routes, RDS), {table.name: table})
        whole, needed = dict[str, Layer](), frozenset[str]()
        if scope.capture is not None:
            seen, shared = catalog.seen(views), self._shared_with(scope.alike)
            there = types.get(CDS, NO_LAYER), shared.types.get(CDS, NO_LAYER)
            known = Beside(there, types.get(RDS, NO_LAYER))
            ground = scope.capture, seen, catalog.mesh.published
            made = self._captured.types(client, *ground, scope.alike, known)
            needed, of = made.needed, (client, scope.capture, scope.alike)
            for url, found in made.held.items():
                whole[url] = self._joined((*of, url), NO_LAYER, found)
            for url, found in made.by_name.items():
                types[url] = self._joined((*of, url, "by name"), types.get(url, NO_LAYER), found)
        types[SDS] = self._secrets_of(client.namespace)
        shares = self._part(scope, types), self._part((scope, "held"), whole)
        return _Shares(*shares, needed)

    def _secrets_of(self, namespace: str) -> Layer:
        """Those that its clients need for services."""
        catalog = self._catalog
        named = credentials.named_by(catalog.own, catalog.mesh.credentials, namespace)

        def make(_: Layer | None) -> Layer:
            found = tuple(secret for one in named for secret in credentials.secrets(one))
            return Draft(secrets=found).encode()[SDS]

        return self._named.get(namespace, named, make)

    def _joined(self, key: Hashable, one: Layer, other: dict[str, Resource]) -> Layer:
        """The last one of this key, if it was made of these or has the same resources."""
        make = partial(self._catalog.layer, key)
        return self._joins.get(key, (one, other), lambda _: make({**one, **other}))

    def _part(self, key: Hashable, types: dict[str, Layer]) -> Part:
        """The last one of this key, if it has the same layers."""
        return self._parts.get(key, tuple(types.values()), lambda _: Part(types))

    # ------------------------------------------------------------------ of one node

    def _needed(self, seat: _Seat, unasked: frozenset[str], shared: Part, scope: Part) -> Part:
        """The services' clusters that a node on demand has to have unasked."""
        key = seat.key
        there = _names(CDS, shared, scope)
        clusters = {name: there[name] for name in unasked if name in there}
        layer = self._catalog.layer((key, "needed"), clusters)
        return self._part((key, "needed"), {CDS: layer}) if layer else NO_PART

    def _own_part(self, key: Hashable, node: Node, scope: _Shares, beside: Workload | None) -> _Own:
        """A node that is no gateway has the same part on the same ground; what was in trouble may
        be helped by anything."""
        ground: tuple[object, ...] = (self._ground, self._revoked(), beside)

        def make(last: _Own | None) -> _Own:
            of = envoy.beside(self.mesh, node, self._revoked())
            if last is not None and last.of == of and last.trouble is None:
                return last
            return self._noted(last, self._build(node, of, scope), of)

        known = self._own.last(key)
        if known is not None and (known[1].of.follows_services or known[1].trouble):
            ground = (self.mesh, self._revoked())
        return self._own.get(key, ground, make)

    def _noted(self, last: _Own | None, made: _Own, of: envoy.Beside) -> _Own:
        """The last good one in place of what can't be made; other troubles are told."""
        before = last.trouble if last is not None else None
        if made.trouble != before:
            if made.trouble is not None:
                log.error("%s", made.trouble)
            self.restate()
        if last is not None and made.trouble is not None and made.trouble.frozen:
            return replace(last, of=of, trouble=made.trouble)
        return made

    def _build(self, node: Node, of: envoy.Beside, scope: _Shares) -> _Own:
        """Without the patches that would leave something dangling."""
        parts = scope.by_name, scope.held
        known = _names(CDS, self._shared, *parts), _names(RDS, *parts)

        def attempt(kept: envoy.Patches) -> Attempt[Draft]:
            try:
                draft = envoy.sidecar(replace(of, patches=kept), node)
                return Attempt(draft, check(draft, *known))
            except Exception as error:
                # Whatever it is, proxies must keep what they have and others get what is new.
                log.exception("configuration of %s cannot be built", node.id)
                return Attempt(problems=(str(error) or type(error).__name__,))

        found = fitted(of.patches, attempt)
        draft, frozen = found.attempt.made, "; ".join(found.attempt.problems)
        who = name_of(node)
        trouble = Trouble(who, found.left_out, frozen, f"Proxy {who}") or None
        if draft is None or frozen:
            return _Own(of, NO_PART, trouble=trouble)
        wanted = on_demand.clusters_of((*draft.listeners, *draft.routes))
        return _Own(of, Part(draft.encode()), wanted, trouble)

    def _encoded(self, secrets: tuple[Secret, ...]) -> Part:
        """The same objects are the same secrets."""
        key = tuple(map(id, secrets))
        if key not in self._secrets:
            if len(self._secrets) >= MAX_SECRETS:
                self._secrets.clear()
            self._secrets[key] = (secrets, Part(Draft(secrets=secrets).encode()))
        return self._secrets[key][1]


_GROUND = tuple(
    one.name for one in fields(Mesh) if one.init and one.name not in ("services", "pods")
)
"""What of a mesh a node's own side depends on, but for its own pod; services are for gateways."""

_OF_SERVICES = 2
"""Of a node's layers those that are not its own: shared, and its scope's."""


def _of_clusters(alike: envoy.Patches) -> envoy.Patches:
    return tuple(one for one in alike if one.apply_to == "CLUSTER")


def _own_key(node: Node, beside: Workload | None, asked: frozenset[str], last: Node | None) -> Node:
    """All of it but for its name: of an id only the role counts, of the metadata what patches ask
    for. Two nodes that call themselves the same workload may be of different identities, and only
    one of them may have its keys."""
    metadata = {name: value for name, value in node.metadata.items() if name in asked}
    return seated(replace(node, id=node.id.partition("~")[0], metadata=metadata), beside)


def _names(type_url: str, *parts: Part) -> Resources:
    """Whose names there are."""
    return Resources(tuple(part.types.get(type_url, NO_LAYER) for part in parts))
