"""Which pods there are or will be, and which of them are in the mesh.

A manifest seldom has pods: the templates of Deployments and their like stand for those that they
will make, and WorkloadEntries for machines. Where there is none of all these nobody can say what
selects nothing (`known`). What every installation of Istio brings is taken for granted: the pod of
its ingress gateway and that one's service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from controlplane.analyze.fields import Field
from controlplane.analyze.items import Item, Items
from protos.frozen import frozen

INJECT = "sidecar.istio.io/inject"
INJECTION, REVISION = "istio-injection", "istio.io/rev"
DATAPLANE_MODE = "istio.io/dataplane-mode"
PROXY = "istio-proxy"
SYSTEM = "istio-system"
SYSTEM_NAMESPACES = frozenset(
    ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")
)
_MAKERS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout")
_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")
_SUBZONE = "topology.istio.io/subzone"
_HOSTNAME = "kubernetes.io/hostname"
_GATEWAY_LABELS = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
GATEWAY_PORTS = frozenset((15021, 80, 8080, 443, 8443, 31400, 15443))
"""Of the service of Istio's own ingress gateway."""


@frozen
class Pod:
    """item: what it was read from; None for the ingress gateway that everybody has. spec: a pod's,
    empty for a WorkloadEntry."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Field | None = None
    item: Item | None = None

    @property
    def containers(self) -> list[Field]:
        if self.spec is None:
            return []
        return self.spec["containers"].items + self.spec["initContainers"].items


_INGRESS_GATEWAY = Pod(SYSTEM, "istio-ingressgateway", _GATEWAY_LABELS, {})


class Population:
    __slots__ = ("_inside", "_items", "_places", "every", "known")

    def __init__(self, items: Items) -> None:
        self._items = items
        self._places = {node.name: node.labels for node in items.of("Node")}
        found = list(self._found())
        self.known = bool(found)
        self.every: tuple[Pod, ...] = (*found, _INGRESS_GATEWAY)
        self._inside: dict[str, list[Pod]] = defaultdict(list)
        for pod in self.every:
            self._inside[pod.namespace].append(pod)

    def selected(self, labels: Mapping[str, str], namespace: str = "") -> list[Pod]:
        """Those with all of the labels; namespace '' is any."""
        pods = self._inside.get(namespace, ()) if namespace else self.every
        return [pod for pod in pods if has(pod.labels, labels)]

    def in_mesh(self, pod: Pod) -> bool:
        """It has a sidecar, or will get one."""
        if any(one["name"].text == PROXY and one["image"].text for one in pod.containers):
            return True
        said = pod.labels.get(INJECT) or pod.annotations.get(INJECT)
        if said is not None:
            return said == "true"
        namespace = self._items.find("Namespace", "default", pod.namespace)
        return namespace is not None and namespace.labels.get(INJECTION) == "enabled"

    def is_ambient(self, namespace: str) -> bool:
        """No sidecars there: Istio's ambient mode."""
        item = self._items.find("Namespace", "default", namespace)
        labels = item.labels if item else {}
        injected = labels.get(INJECTION) == "enabled" or labels.get(REVISION)
        return not injected and labels.get(DATAPLANE_MODE) == "ambient"

    def _found(self) -> Iterator[Pod]:
        for item in self._items.of("Pod"):
            labels = self._with_place(item.labels, item.spec["nodeName"].text)
            yield Pod(item.namespace, item.name, labels, item.annotations, item.spec, item)
        for kind in _MAKERS:
            for item in self._items.of(kind):
                yield template(item)
        for kind in ("WorkloadEntry", "WorkloadGroup"):
            for item in self._items.of(kind, "istio.io"):
                spec = item.spec if kind == "WorkloadEntry" else item.spec["metadata"]
                labels = dict(item.labels) | dict(spec["labels"].labels)
                yield Pod(item.namespace, item.name, labels, item.annotations, None, item)

    def _with_place(self, labels: Mapping[str, str], node: str) -> Mapping[str, str]:
        """With the node's place, as Istio's registry adds it; an empty one says nothing."""
        place = self._places.get(node)
        if place is None:
            return labels
        known = {key: place[key] for key in (*_TOPOLOGY, _SUBZONE) if place.get(key)}
        return dict(labels) | known | {_HOSTNAME: node}


def template(item: Item) -> Pod:
    """What a Deployment, or the like of it, will make."""
    made = item.spec["template"]
    metadata = made["metadata"]
    labels, annotations = metadata["labels"].labels, metadata["annotations"].labels
    return Pod(item.namespace, item.name, labels, annotations, made["spec"], item)


def has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def is_control_plane(item: Item) -> bool:
    """Istio's own, which has ports and users that others may not."""
    return item.labels.get("istio") == "pilot" or item.labels.get("app") == "istiod"


def selector_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
