"""Snapshots by node, built when asked for and made of parts that many nodes share.

A part that cannot be built, or that has dangling references, is our own mistake: it is logged
and the last good one stays in force, so that one bad part takes nothing else down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.emit import envoy
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh
from controlplane.snapshot import Draft, Resources, Snapshot, assemble, check
from protos.types import PUSH_ORDER

log = logging.getLogger("weft.controlplane.xds")

SecretsFor = Callable[[Node], Iterable[Secret]]
"""The secrets of an admitted node."""


MAX_LAST_GOOD = 10_000
"""Parts remembered of nodes that may have gone."""


@dataclass(frozen=True, slots=True)
class _Part:
    types: dict[str, Resources]
    clusters: frozenset[str]
    routes: frozenset[str]


_NOTHING = _Part({}, frozenset(), frozenset())


class SnapshotCache:
    def __init__(self, mesh: Mesh, secrets_for: SecretsFor) -> None:
        self._mesh = mesh
        self._secrets_for = secrets_for
        self.extras_for: Callable[[Node], Draft] | None = None
        self._parts: dict[Hashable, _Part] = {}
        self._last_good: dict[Hashable, _Part] = {}
        self._source_labels: frozenset[str] = frozenset()

    @property
    def mesh(self) -> Mesh:
        return self._mesh

    def set_mesh(self, mesh: Mesh) -> None:
        """From now on snapshots are of this mesh."""
        self._mesh = mesh
        kept = {k: part for k, part in self._last_good.items() if k not in self._parts}
        merged = [*kept.items(), *self._parts.items()]
        self._last_good = dict(merged[-MAX_LAST_GOOD:])
        self._parts = {}
        self._source_labels = frozenset(
            name
            for service in mesh.services
            for rule in service.rules
            for match in rule.matches
            for name in match.source_labels
        )

    def snapshot(self, node: Node) -> Snapshot:
        """Everything for `node`. The same content has the same version, for any node."""
        shared = self._part("shared", lambda: envoy.shared(self._mesh), _NOTHING)
        outbound = self._part(
            self._outbound_key(node), lambda: envoy.outbound(self._mesh, node), shared
        )
        sidecar = self._part(
            self._sidecar_key(node),
            lambda: envoy.sidecar(self._mesh, node),
            outbound,
        )
        secrets = Draft(secrets=tuple(self._secrets_for(node))).encode()
        parts = [shared.types, outbound.types, sidecar.types, secrets]
        if self.extras_for is not None:  # for a while, of each node its own
            parts.append(self.extras_for(node).encode())
        return _merge(*parts)

    def _outbound_key(self, node: Node) -> Hashable:
        """Of a node's labels those count that a rule asks for: others differ from pod to pod."""
        labels = tuple((k, v) for k, v in sorted(node.labels.items()) if k in self._source_labels)
        return ("outbound", bool(node.http_proxy_port), node.namespace, labels)

    def _sidecar_key(self, node: Node) -> Hashable:
        """Its labels count while the mesh does not know the workload: policies select by them."""
        labels = tuple(sorted(node.labels.items()))
        return "sidecar", node.namespace, node.workload, node.http_proxy_port, node.gateway, labels

    def _part(self, key: Hashable, build: Callable[[], Draft], below: _Part) -> _Part:
        if key not in self._parts:
            self._parts[key] = self._build(key, build, below)
        return self._parts[key]

    def _build(self, key: Hashable, build: Callable[[], Draft], below: _Part) -> _Part:
        try:
            draft = build()
            problems = check(draft, below.clusters, below.routes)
            types = draft.encode()
        except Exception as error:
            # Whatever it is, proxies must keep what they have and others get what is new.
            log.exception("configuration of %s cannot be built", key)
            problems, types = (str(error),), {}
        if problems:
            log.error("configuration of %s stays as it was: %s", key, "; ".join(problems))
            return self._last_good.get(key, _NOTHING)
        return _Part(
            types,
            below.clusters | {cluster.name for cluster in draft.clusters},
            below.routes | {routes.name for routes in draft.routes},
        )


def _merge(*parts: dict[str, Resources]) -> Snapshot:
    return assemble(
        {t: {k: v for part in parts for k, v in part.get(t, {}).items()} for t in PUSH_ORDER}
    )
