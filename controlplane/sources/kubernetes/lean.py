"""Documents of the API server, as a manifest would have them, without what has no effect on a mesh.

Reading costs most of what an object costs, so what only the server, the scheduler and the kubelet
need is dropped before. Of pods, of which there are most, only what is named here stays; fields that
a newer Kubernetes has invented can't take one out of the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from controlplane.kinds.cluster_node import Node
from controlplane.kinds.core import EndpointSlice, Service, SliceEndpoint
from controlplane.kinds.objects import Metadata, Object
from controlplane.kinds.pod import ANNOTATIONS, Pod
from controlplane.kinds.registry import KINDS
from controlplane.sources.kubernetes.answers import Document, Resource

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_FILLED_IN = {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
"""What the API server writes into a Service where the user wrote nothing: nobody is to be told that
it has no effect."""


def lean(resource: Resource, document: Document) -> Document:
    """Items of a list don't say what they are."""
    cls = KINDS.get((resource.api_version, resource.kind), Object)
    prune = _PRUNE.get(cls)
    made = prune(document) if prune is not None else _plain(cls, document)
    return made | {"apiVersion": resource.api_version, "kind": resource.kind}


def _plain(cls: type[Object], document: Mapping[str, Any]) -> Document:
    made = {key: value for key, value in document.items() if key not in cls.IGNORED}
    if isinstance(said := document.get("metadata"), dict):
        made["metadata"] = _metadata(said)
    return made


def _metadata(said: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in said.items() if key not in Metadata.IGNORED}
    notes = made.get("annotations")
    if isinstance(notes, dict) and _LAST_APPLIED in notes:
        made["annotations"] = {k: v for k, v in notes.items() if k != _LAST_APPLIED}
    return made


def _without(said: Mapping[str, Any], ignored: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if key not in ignored}


def _listed(said: dict[str, Any], key: str, prune: Callable[[Any], Any]) -> None:
    """Prunes the items of the list under `key`, in place, where they are mappings."""
    if isinstance(items := said.get(key), list):
        said[key] = [prune(one) if isinstance(one, dict) else one for one in items]


# --------------------------------------------------------------------------- services


def _service(document: Mapping[str, Any]) -> Document:
    made = _plain(Service, document)
    if isinstance(spec := made.get("spec"), dict):
        made["spec"] = {k: value for k, value in spec.items() if _FILLED_IN.get(k) != value}
    return made


def _slice(document: Mapping[str, Any]) -> Document:
    made = _plain(EndpointSlice, document)
    _listed(made, "endpoints", lambda one: _without(one, SliceEndpoint.IGNORED))
    return made


# --------------------------------------------------------------------------- pods and nodes


_OF_METADATA = ("name", "namespace", "labels", "deletionTimestamp")
_OF_SPEC = ("serviceAccountName", "nodeName", "hostNetwork")
_OF_PORT = ("name", "containerPort", "protocol")


def _only(said: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: said[key] for key in keys if key in said}


def _pod(document: Mapping[str, Any]) -> Document:
    metadata, spec, status = (document.get(key) for key in ("metadata", "spec", "status"))
    made: Document = {"metadata": metadata, "spec": spec, "status": status}
    if isinstance(metadata, dict):
        made["metadata"] = _only(metadata, _OF_METADATA)
        if isinstance(notes := metadata.get("annotations"), dict):
            made["metadata"]["annotations"] = {k: v for k, v in notes.items() if k in ANNOTATIONS}
    if isinstance(spec, dict):
        made["spec"] = _only(spec, _OF_SPEC) | {"containers": list(_with_named_ports(spec))}
    if isinstance(status, dict):
        made["status"] = _state(status)
    return made


def _with_named_ports(spec: Mapping[str, Any]) -> Iterator[Any]:
    """Containers with a port that a Service may ask for by its name; other ports decide nothing."""
    listed = (spec.get(key) for key in ("containers", "initContainers"))
    for container in (one for every in listed if isinstance(every, list) for one in every):
        ports = container.get("ports") if isinstance(container, dict) else None
        if isinstance(ports, list):
            named = [one for one in ports if isinstance(one, dict) and one.get("name")]
            if named:
                yield {"name": "", "ports": [_only(one, _OF_PORT) for one in named]}


def _state(status: Mapping[str, Any]) -> dict[str, Any]:
    """Of several conditions only Ready says something here, and of one address that."""
    made = _only(status, ("phase", "podIP"))
    if isinstance(every := status.get("conditions"), list):
        ready = [one for one in every if isinstance(one, dict) and one.get("type") == "Ready"]
        made["conditions"] = [_only(one, ("type", "status")) for one in ready]
    if isinstance(places := status.get("podIPs"), list) and len(places) > 1:
        made["podIPs"] = [_only(one, ("ip",)) for one in places if isinstance(one, dict)]
    return made


def _node(document: Mapping[str, Any]) -> Document:
    """Its labels; its annotations are kubelet's."""
    made = _plain(Node, document)
    if isinstance(said := made.get("metadata"), dict):
        made["metadata"] = _without(said, ("annotations",))
    return made


_PRUNE: dict[type[Object], Callable[[Mapping[str, Any]], Document]] = {
    Service: _service,
    EndpointSlice: _slice,
    Pod: _pod,
    Node: _node,
}
