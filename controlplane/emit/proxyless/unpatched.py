"""EnvoyFilters do not reach gRPC's own clients and servers, as their resources are not Envoy's:
told of those that would be for one, by what it calls and whether it serves."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from controlplane.emit import patches
from controlplane.emit.node import Node
from controlplane.emit.proxyless.losses import CODE
from controlplane.mesh.model import Mesh, Status
from controlplane.mesh.patches import EnvoyPatch


def statuses(mesh: Mesh, node: Node, called: Collection[str], serves: bool) -> Iterator[Status]:
    """called: host names of services."""
    if not mesh.patches:
        return
    workload = mesh.workload_of(node.namespace, node.pod, node.workload)
    labels = workload.labels if workload is not None else node.labels
    for patch in patches.of_node(mesh, node, labels):
        if _concerns(patch, called, serves):
            message = (
                f"{patch.path} does not reach gRPC's own clients and servers, which heed no "
                "EnvoyFilter; a program with a sidecar has it"
            )
            yield Status(patch.position, "warning", CODE, patch.object, message)


def _concerns(patch: EnvoyPatch, called: Collection[str], serves: bool) -> bool:
    if patch.context in ("ANY", "SIDECAR_INBOUND") and serves:
        return True
    if patch.context not in ("ANY", "SIDECAR_OUTBOUND"):
        return False
    return patch.match.service in called if patch.match.service else bool(called)
