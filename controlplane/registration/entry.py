"""WorkloadGroup and a proxy that names it -> the WorkloadEntry of that proxy (Istio's
auto-registration). Pure.

What an entry is, the group says: its template and the labels and annotations that go onto entries.
Of the proxy come its address and where it stands. Its own labels are not taken, as Istio does:
with them it could make itself an endpoint of any service of its namespace.
"""

from __future__ import annotations

import json
from typing import Any

from certs.spiffe import SpiffeId
from controlplane.emit.node import Node, address_of
from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.workload_group import WorkloadGroup
from controlplane.translate.sidecars import READY

OF_GROUP = "istio.io/autoRegistrationGroup"
"""Istio's annotation of entries that were made of a group."""
BY = "weft.dev/registered-by"
"""Which control plane a proxy is connected to."""
_SIDECAR = {"security.istio.io/tlsMode": "istio"}


def key_of(node: Node) -> ObjectKey:
    """Of the entry of a proxy that names a group."""
    return ObjectKey("WorkloadEntry", node.namespace, node.workload)


def why_not(node: Node, identity: SpiffeId, group: WorkloadGroup | None) -> str:
    """Why a proxy is not registered, with what to do about it; '' if it is."""
    if group is None:
        where = f"the namespace {node.namespace}"
        return (
            f"there is no WorkloadGroup {node.group!r} in {where}: apply it, or correct "
            "AUTO_REGISTER_GROUP in the node's metadata"
        )
    account = group.spec.template.service_account or "default"
    if identity.service_account == account:
        return ""
    return (
        f"it is the service account {identity.service_account!r}, and entries of the group are "
        f"{account!r}: give it a token of that account, or correct template.serviceAccount"
    )


def is_ready(group: WorkloadGroup, healthy: bool | None) -> bool:
    """healthy: what its agent has told of its workload, None while it is silent. Where the group
    has a probe the first word is waited for, as in Istio."""
    return healthy if healthy is not None else group.spec.probe is None


def manifest(node: Node, group: WorkloadGroup, by: str, *, ready: bool = True) -> str:
    """The entry, as one line of YAML. by: this control plane."""
    template, metadata = group.spec.template, group.spec.metadata
    labels = {**template.labels, **metadata.labels}
    region, zone, subzone = node.locality
    locality = "/".join((region, zone, subzone)).rstrip("/")
    spec: dict[str, Any] = {
        "address": address_of(node.id),
        "labels": labels,
        "ports": dict(template.ports),
        "serviceAccount": template.service_account or "default",
        "weight": template.weight,
    }
    spec |= {"locality": locality or template.locality, "network": template.network}
    annotations = {**metadata.annotations, OF_GROUP: group.name, BY: by}
    if not ready:
        annotations[READY] = "false"
    named = {"name": node.workload, "namespace": node.namespace}
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {**named, "annotations": annotations, "labels": {**labels, **_SIDECAR}},
            "spec": spec,
        }
    )
