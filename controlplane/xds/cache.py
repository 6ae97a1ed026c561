"""Snapshots by node, built when asked for and made of layers that many nodes share.

    layer      of whom
    shared     everybody: services that all clients see alike
    scope      clients of a namespace (and labels): other services, routes, credentials
    own        one node: its inbound side, its listeners
    secrets    one node, mostly the same for all
    extras     one node, while a rehearsal runs

A node whose layers did not change has the same Snapshot, found by identity. What can't be built, or
has dangling references, is our own mistake: it is logged and the last good one stays in force, so
that one bad part takes nothing else down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import is_

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.emit import clients, credentials, envoy
from controlplane.emit.clients import Client
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh
from controlplane.resources import NO_LAYER, NOTHING, Layer, Resources, Snapshot, assemble
from controlplane.snapshot import Draft, check
from controlplane.xds.catalog import Catalog, Kept
from protos.types import CDS, PUSH_ORDER, RDS, SDS

log = logging.getLogger("weft.controlplane.xds")

SecretsFor = Callable[[Node], Iterable[Secret]]
"""The secrets of an admitted node."""

MAX_SECRETS = 10_000
"""Sets of secrets that are kept encoded."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """type URL -> its layer. Compared by identity. layers: of all types, in PUSH_ORDER."""

    types: Mapping[str, Layer]
    layers: tuple[Layer, ...] = field(init=False)

    def __post_init__(self) -> None:
        layers = tuple(self.types.get(type_url, NO_LAYER) for type_url in PUSH_ORDER)
        object.__setattr__(self, "layers", layers)


_NOTHING = _Part({})


@dataclass(frozen=True, slots=True)
class _Own:
    """A node's own part, and of what it was made."""

    of: envoy.Beside
    part: _Part


class SnapshotCache:
    def __init__(
        self, mesh: Mesh, secrets_for: SecretsFor, revoked: Callable[[], tuple[str, ...]] = tuple
    ) -> None:
        """revoked: the identities that plain Envoys are to refuse."""
        self._revoked = revoked
        self._secrets_for = secrets_for
        self.extras_for: Callable[[Node], Draft] | None = None
        self._catalog = Catalog(mesh)
        self._shared = _NOTHING
        self._scopes: dict[tuple[Client, bool], _Part] = {}
        self._parts: Kept[_Part] = Kept()
        self._own: Kept[_Own] = Kept()
        self._snapshots: Kept[Snapshot] = Kept()
        self._ground: tuple[object, ...] = ()
        self._secrets: dict[tuple[int, ...], tuple[tuple[Secret, ...], _Part]] = {}
        self.set_mesh(mesh)

    @property
    def mesh(self) -> Mesh:
        return self._catalog.mesh

    def set_mesh(self, mesh: Mesh) -> None:
        """From now on snapshots are of this mesh."""
        catalog = self._catalog
        catalog.use(mesh)
        self._parts.sweep()
        self._own.sweep()
        self._snapshots.sweep()
        self._scopes = {}
        ground = (mesh.workloads, mesh.security, mesh.gateways, mesh.federated)
        if not all(map(is_, ground, self._ground or (None,) * len(ground))):
            self._ground = ground
        self._shared = self._part("shared", catalog.layers("shared", catalog.common))

    def snapshot(self, node: Node) -> Snapshot:
        """Everything for `node`. The same content has the same version, for any node."""
        scope, key = self._scope(node), _own_key(node)
        own = self._own_part(key, node, scope)
        secrets = self._encoded(tuple(self._secrets_for(node)))
        extras = _Part(self.extras_for(node).encode()) if self.extras_for else _NOTHING
        parts = (self._shared, scope, own, secrets, extras)
        return self._snapshots.get(key, parts, partial(_assembled, parts))

    # ------------------------------------------------------------------ scopes

    def _scope(self, node: Node) -> _Part:
        client = clients.client_of(node, self._catalog.client_labels)
        key = (client, bool(node.http_proxy_port))
        if key not in self._scopes:
            self._scopes[key] = self._made_scope(*key)
        return self._scopes[key]

    def _made_scope(self, client: Client, proxies_http: bool) -> _Part:
        catalog = self._catalog
        views = clients.seen(catalog.own, client)
        types = catalog.layers(client, views)
        if proxies_http:
            table = catalog.table(client, views)
            types[RDS] = catalog.layer((client, RDS), {table.name: table})
        held = credentials.of_services(catalog.mesh, client.namespace)
        types[SDS] = catalog.layer((client, SDS), Draft(secrets=held).encode()[SDS])
        return self._part((client, proxies_http), types)

    def _part(self, key: Hashable, types: dict[str, Layer]) -> _Part:
        """The last one of this key, if it has the same layers."""
        return self._parts.get(key, tuple(types.values()), lambda _: _Part(types))

    # ------------------------------------------------------------------ of one node

    def _own_part(self, key: Hashable, node: Node, scope: _Part) -> _Part:
        """A node that is no gateway has the same part on the same ground."""
        ground: tuple[object, ...] = (self._ground, self._revoked())

        def make(last: _Own | None) -> _Own:
            of = envoy.beside(self.mesh, node, self._revoked())
            if last is not None and last.of == of:
                return last
            part = self._build(node, of, scope)
            return _Own(of, part or (last.part if last is not None else _NOTHING))

        known = self._own.last(key)
        if known is not None and known[1].of.edge is not None:
            ground = (self.mesh, self._revoked())
        return self._own.get(key, ground, make).part

    def _build(self, node: Node, of: envoy.Beside, scope: _Part) -> _Part | None:
        try:
            draft = envoy.sidecar(of, node)
            problems = check(draft, _names(CDS, self._shared, scope), _names(RDS, scope))
            types = draft.encode()
        except Exception as error:
            # Whatever it is, proxies must keep what they have and others get what is new.
            log.exception("configuration of %s cannot be built", node.id)
            problems, types = (str(error),), {}
        if problems:
            log.error("configuration of %s stays as it was: %s", node.id, "; ".join(problems))
            return None
        return _Part(types)

    def _encoded(self, secrets: tuple[Secret, ...]) -> _Part:
        """The same objects are the same secrets."""
        key = tuple(map(id, secrets))
        if key not in self._secrets:
            if len(self._secrets) >= MAX_SECRETS:
                self._secrets.clear()
            self._secrets[key] = (secrets, _Part(Draft(secrets=secrets).encode()))
        return self._secrets[key][1]


def _own_key(node: Node) -> Hashable:
    """Its labels count while the mesh does not know the workload: policies select by them."""
    labels = tuple(sorted(node.labels.items()))
    return (
        *(node.namespace, node.workload, node.http_proxy_port, node.gateway),
        *(node.weft_agent, labels),
    )


def _names(type_url: str, *parts: _Part) -> Resources:
    """Whose names there are."""
    return Resources(tuple(part.types.get(type_url, NO_LAYER) for part in parts))


def _assembled(parts: tuple[_Part, ...], last: Snapshot | None) -> Snapshot:
    """Types whose layers are those of before are the same object."""
    types = {}
    for url, layers in zip(
        PUSH_ORDER, zip(*(part.layers for part in parts), strict=True), strict=True
    ):
        old = last.of(url) if last is not None else NOTHING
        alike = len(old.layers) == len(layers) and all(map(is_, old.layers, layers))
        types[url] = old if alike else Resources(layers)
    return assemble(types)
