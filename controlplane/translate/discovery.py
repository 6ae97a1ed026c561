"""Istio's discoverySelectors: in which namespaces the objects are that the mesh is made of.

A namespace that none of them chooses is as if nothing stood there; the root namespace, and what
belongs to no namespace, always counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from controlplane.inventory import Snapshot
from controlplane.kinds.cluster_node import Node
from controlplane.kinds.core import Namespace
from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.kinds.gateway_api.gateway import GatewayClass, LabelSelector
from controlplane.kinds.ingress import IngressClass
from controlplane.kinds.mesh_config import ROOT_NAMESPACE, MeshConfigMap
from controlplane.kinds.objects import Object
from controlplane.translate.memo import Memo
from controlplane.translate.report import Report
from protos.frozen import frozen

OF_NO_NAMESPACE = (
    Namespace,
    Node,
    GatewayClass,
    IngressClass,
    ClusterFederatedTrustDomain,
    MeshConfigMap,
)
_NAME = "kubernetes.io/metadata.name"
"""A label that every namespace has."""


@frozen
class Chosen:
    """The namespaces that some of the selectors take. labels: of those that are known."""

    selectors: tuple[LabelSelector, ...]
    labels: Mapping[str, Mapping[str, str]] = field(hash=False)

    def takes(self, namespace: str) -> bool:
        if namespace == ROOT_NAMESPACE:
            return True
        labels = {**self.labels.get(namespace, {}), _NAME: namespace}
        return any(one.takes(labels) for one in self.selectors)


def heeded(snapshot: Snapshot, memo: Memo, report: Report) -> Snapshot:
    """What counts of it. A kind of which nothing has changed has the same tuple as before."""
    settings = snapshot.of(MeshConfigMap)
    if not settings or not settings[0].data.mesh.discovery_selectors:
        return snapshot
    chosen = memo.once("discovery", _chosen, settings, snapshot.of(Namespace))
    kinds = {
        kind: items
        if kind in OF_NO_NAMESPACE
        else memo.once(f"chosen {kind.__module__}.{kind.__name__}", _taken, items, chosen)
        for kind, items in snapshot.kinds.items()
    }
    found = Snapshot.of_kinds(kinds, snapshot.statuses)
    memo.once("not chosen", _tell, settings[0], tuple(snapshot.kinds.values()), chosen, report)
    return found


def _chosen(settings: tuple[MeshConfigMap, ...], namespaces: tuple[Namespace, ...]) -> Chosen:
    labels = {one.name: one.metadata.labels for one in namespaces}
    return Chosen(settings[0].data.mesh.discovery_selectors, labels)


def _taken(items: tuple[Object, ...], chosen: Chosen) -> tuple[Object, ...]:
    there = {namespace: chosen.takes(namespace) for namespace in {one.namespace for one in items}}
    return tuple(one for one in items if there[one.namespace])


def _tell(
    settings: MeshConfigMap,
    kinds: tuple[tuple[Object, ...], ...],
    chosen: Chosen,
    report: Report,
) -> None:
    """How much is passed over, of each namespace."""
    counts: dict[str, int] = {}
    for items in kinds:
        for one in items if not isinstance(next(iter(items), None), OF_NO_NAMESPACE) else ():
            counts[one.namespace] = counts.get(one.namespace, 0) + 1
    position = settings.data.mesh.at("discoverySelectors")
    for namespace, count in sorted(counts.items()):
        if not chosen.takes(namespace):
            objects = "its object is" if count == 1 else f"its {count} objects are"
            message = (
                f"discoverySelectors: none takes the namespace {namespace!r}; {objects} passed over"
            )
            report.info(settings, position, "NotDiscovered", message)
