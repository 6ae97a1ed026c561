"""What is wrong with manifests, found without running anything: `weft check`.

Everything that a control plane would say of them: reading, translation, and whether what they
become for each proxy that they can have holds together. Nothing is kept in force from before, so
an object with an error is not there for those that refer to it.

    found = analyze({"mesh/a.yaml": parse(text, "mesh/a.yaml")}, "cluster.local", now)

Then what `istioctl analyze` would say, which also looks at kinds that are nothing to a mesh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from controlplane.analyze.analyzers import findings
from controlplane.analyze.finding import beside
from controlplane.analyze.items import Items
from controlplane.emit import clients, envoy
from controlplane.emit.clients import Client
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
    known: dict[tuple[Client, int], Draft] = {}
    for label, position, node in _nodes(mesh):
        try:
            alike = clients.client_of(node, labels), node.http_proxy_port
            if alike not in known:
                known[alike] = common + envoy.outbound(mesh, node)
            side = envoy.beside(mesh, node)
            problems = _dangling(known[alike], envoy.sidecar(side, node))
            for name in envoy.without_place(side, node):
                message = f"the gateway's listener {name} is where the sidecar listens; move it"
                yield Status(position, "error", "Conflict", label, message)
        except Exception as error:
            # Whatever it is, what is wrong with others is still to be told.
            problems = (f"cannot be emitted: {error!r}",)
        for problem in problems:
            yield _problem(label, position, problem)


def _dangling(outbound: Draft, own: Draft) -> Iterable[str]:
    clusters = {one.name for one in outbound.clusters} | outbound.unresolved
    routes = {one.name for one in outbound.routes}
    return (*check(outbound), *check(own, clusters, routes))


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
