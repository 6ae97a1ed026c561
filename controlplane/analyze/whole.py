"""What is wrong with manifests, found without running anything: `weft check`.

Everything that a control plane would say of them: reading, translation, and whether what they
become for each proxy that they can have holds together. Nothing is kept in force from before, so
an object with an error is not there for those that refer to it.

    found = analyze({"mesh/a.yaml": parse(text, "mesh/a.yaml")}, "cluster.local", now)

Then what `istioctl analyze` would say, which also looks at kinds that are nothing to a mesh.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from controlplane.analyze.analyzers import findings
from controlplane.analyze.finding import beside
from controlplane.analyze.items import Items
from controlplane.emit import clients, envoy
from controlplane.emit.clients import Client
from controlplane.emit.fitting import Attempt, LeftOut, Patches, fitted, told
from controlplane.emit.node import Node
from controlplane.emit.patch_values import faults as patch_faults
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import Parsed
from controlplane.mesh.model import NOWHERE, Mesh, Position, Status
from controlplane.mesh.scopes import GATEWAY_NAME
from controlplane.mesh.statuses import in_order
from controlplane.snapshot import Draft, check
from controlplane.translate import build
from protos.frozen import frozen

MAX_SEARCHED = 20
"""Proxies for which it is searched which patches are to blame; others are no worse without them."""
_HTTP_PROXY_PORT = 15001
"""Any: with one, a sidecar has routes to every service."""


@frozen
class Findings:
    """statuses: in the order of their places. objects: how many of the mesh's kinds were read."""

    statuses: tuple[Status, ...]
    objects: int


def analyze(manifests: Mapping[str, Parsed], trust_domain: str, now: datetime) -> Findings:
    """manifests: what was read, by the source's name. now: of which certificates are valid."""
    inventory = Inventory()
    for name, parsed in manifests.items():
        inventory.replace(Origin.file(name), parsed.objects, parsed.statuses)
    mesh, said = build(inventory.snapshot(), trust_domain)
    known = {*said, *patch_faults(mesh.patches), *_emitted(mesh)}
    items = Items({name: parsed.documents for name, parsed in manifests.items()}, now)
    found = beside(known, findings(items))
    return Findings(in_order(found), sum(len(one.objects) for one in manifests.values()))


def _emitted(mesh: Mesh) -> Iterator[Status]:
    """What does not hold together in what proxies would get, and for whom."""
    try:
        common = envoy.shared(mesh)
    except Exception as error:
        yield _problem("Mesh", NOWHERE, f"cannot be emitted: {error!r}")
        return
    labels = {name for one in mesh.services for name in clients.labels_of(one)}
    labels.update(clients.labels_of_imports(mesh.imports))
    proxies, patches = _Proxies(mesh, common, labels), _Patches(mesh, common, labels)
    for label, position, node in _nodes(mesh):
        problems = proxies.problems(node)
        if problems and mesh.patches:
            problems = patches.without_the_bad(label, node)
        for problem in problems:
            yield _problem(label, position, problem)
        for name in proxies.without_place(node):
            message = f"the gateway's listener {name} is where the sidecar listens; move it"
            yield Status(position, "error", "Conflict", label, message)
    yield from patches.statuses()


class _Proxies:
    """Of one mesh. common: what all of them have; labels: those that services ask clients for."""

    def __init__(self, mesh: Mesh, common: Draft, labels: Collection[str]) -> None:
        self._mesh = mesh
        self._common: dict[Patches, Draft] = {(): common}
        self._labels = labels
        self._known: dict[tuple[Client, int, Patches], _Outbound] = {}

    def problems(self, node: Node) -> tuple[str, ...]:
        """Of what the node would get."""
        try:
            patches = envoy.alike_patches(self._mesh, node)
            alike = clients.client_of(node, self._labels), node.http_proxy_port, patches
            if alike not in self._known:
                common = self._shared(tuple(p for p in patches if p.apply_to == "CLUSTER"))
                drafted = common + envoy.outbound(self._mesh, node, patches)
                self._known[alike] = _Outbound.of(drafted)
            own = envoy.sidecar(envoy.beside(self._mesh, node), node)
            outbound = self._known[alike]
            return (*outbound.problems, *check(own, outbound.clusters, outbound.routes))
        except Exception as error:
            # Whatever it is, what is wrong with others is still to be told.
            return (f"cannot be emitted: {error!r}",)

    def _shared(self, of_clusters: Patches) -> Draft:
        """Whoever has the same patches of clusters has it alike."""
        if of_clusters not in self._common:
            self._common[of_clusters] = envoy.shared(self._mesh, of_clusters)
        return self._common[of_clusters]

    def without_place(self, node: Node) -> tuple[str, ...]:
        """Its gateways' listeners that are where another one is."""
        try:
            return tuple(envoy.without_place(envoy.beside(self._mesh, node), node))
        except Exception:
            return ()  # `problems` has it


class _Patches:
    """Users' patches that would leave something dangling: a control plane leaves them out."""

    def __init__(self, mesh: Mesh, common: Draft, labels: Collection[str]) -> None:
        self._mesh = mesh
        self._rest = common, labels
        self._bad: dict[LeftOut, list[str]] = {}
        self._searched = 0

    def without_the_bad(self, label: str, node: Node) -> tuple[str, ...]:
        """What is wrong with a node all the same."""
        if self._searched >= MAX_SEARCHED:
            known = {one.patch for one in self._bad}
            kept = tuple(one for one in self._mesh.patches if one not in known)
            return self._problems(node, kept)
        self._searched += 1
        found = fitted(self._mesh.patches, partial(self._attempt, node))
        for one in found.left_out:
            self._bad.setdefault(one, []).append(label)
        return found.attempt.problems

    def _attempt(self, node: Node, kept: Patches) -> Attempt[None]:
        return Attempt(problems=self._problems(node, kept))

    def _problems(self, node: Node, kept: Patches) -> tuple[str, ...]:
        return _Proxies(replace(self._mesh, patches=kept), *self._rest).problems(node)

    def statuses(self) -> Iterator[Status]:
        return (told(one.patch, one.why, ", ".join(who)) for one, who in self._bad.items())


@frozen
class _Outbound:
    """What proxies that are alike call: what dangles in it, looked for once, and its names."""

    problems: tuple[str, ...]
    clusters: frozenset[str]
    routes: frozenset[str]

    @classmethod
    def of(cls, draft: Draft) -> _Outbound:
        clusters = {one.name for one in draft.clusters} | draft.unresolved
        return cls(check(draft), frozenset(clusters), frozenset(one.name for one in draft.routes))


def _problem(label: str, position: Position, message: str) -> Status:
    return Status(position, "error", "Emission", label, message)


def _nodes(mesh: Mesh) -> Iterator[tuple[str, Position, Node]]:
    """The proxies that there can be, with what stands for them: a workload, a gateway, and of each
    namespace one that is neither."""
    for one in (*mesh.workloads, *mesh.pods):
        facts = Node(
            f"sidecar~{one.name}.{one.namespace}",
            one.namespace,
            one.name,
            one.service_account,
            one.labels,
            http_proxy_port=0 if one.pod else _HTTP_PROXY_PORT,
            weft_agent=True,
            interception="REDIRECT" if one.pod else "NONE",
            pod=one.name if one.pod else "",
        )
        yield f"Workload {one.namespace}/{one.name}", one.position, facts
    for gateway in mesh.gateways:
        scope, namespace = gateway.scope, gateway.scope.namespace or gateway.namespace
        named = {GATEWAY_NAME: scope.gateways[0]} if scope.gateways else {}
        labels = named | dict(scope.labels)
        node = Node(f"router~{gateway.name}", namespace, labels=labels, weft_agent=True)
        yield f"Gateway {gateway.namespace}/{gateway.name}", gateway.position, node
    for namespace, position in {one.namespace: one.position for one in mesh.services}.items():
        node = Node(
            f"sidecar~{namespace}",
            namespace,
            http_proxy_port=_HTTP_PROXY_PORT,
            weft_agent=True,
        )
        yield f"Namespace {namespace}", position, node
