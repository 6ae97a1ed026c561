"""All that a control plane does with a Kubernetes API server, opened at once and closed at once."""

from __future__ import annotations

import os
import random
import socket
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from controlplane.inventory import Inventory
from controlplane.mesh.conditions import ObjectConditions
from controlplane.sources.kubernetes.access import MOUNT, AccessOptions, open_access
from controlplane.sources.kubernetes.client import Client
from controlplane.sources.kubernetes.conditions import edit_of, key_of, withdrawn
from controlplane.sources.kubernetes.leader import Leader
from controlplane.sources.kubernetes.metrics import KubernetesMetrics
from controlplane.sources.kubernetes.source import KubernetesSource
from controlplane.sources.kubernetes.status_writer import StatusWriter
from controlplane.tasks import spawn

DEFAULT_NAMESPACE = "weft-system"


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """namespaces: only these; none: all. lease_namespace: where the leader's Lease is; '': where
    this pod is, else weft-system."""

    kubeconfig: Path | None = None
    context: str = ""
    namespaces: tuple[str, ...] = ()
    lease_namespace: str = ""


CONTROLLER = "weft.dev/gateway-controller"
"""The controllerName of what we say of routes and policies."""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    source: KubernetesSource
    leader: Leader
    status: StatusWriter

    def tell(self, found: tuple[ObjectConditions, ...]) -> None:
        """Has the conditions of Gateway API's objects written, of those that are from here. Call it
        when the inventory was translated: the generations are those of now."""
        gone = set(self.status.keys)
        for one in found:
            key = key_of(one)
            generation = self.source.generation_of(key)
            if generation is not None:
                gone.discard(key)
                self.status.write_status(key, edit_of(one, generation, CONTROLLER))
        for key in gone:
            resource = self.source.resource_of(key.kind)
            edit = resource and withdrawn(resource.kind, CONTROLLER)
            if edit and self.source.generation_of(key) is not None:
                self.status.write_status(key, edit)
            else:
                self.status.forget(key)


async def open_kubernetes(
    options: SourceOptions,
    inventory: Inventory,
    on_change: Callable[[], None],
    say: Callable[[str], None],
    registry: CollectorRegistry,
    stack: AsyncExitStack,
) -> Kubernetes:
    """Follows the server from now on, until `stack` closes. SourceError: the kubeconfig or the
    pod's mount can not be used."""
    client = Client(open_access(AccessOptions(options.kubeconfig, options.context)))
    await stack.enter_async_context(client)
    source = KubernetesSource(client, inventory, on_change, options.namespaces, say)
    namespace = options.lease_namespace or _own_namespace()
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    leader = Leader(client, namespace, identity, lambda why: source.remark("Lease", why))
    status = StatusWriter(
        client, source.resource_of, lambda: leader.term, random.random, source.remark
    )
    KubernetesMetrics(registry, source, lambda: bool(leader.term))
    stack.push_async_callback(leader.resign)
    for name, work in (("kubernetes", source.run()), ("leader", leader.run())):
        stack.callback(spawn(work, name).cancel)
    stack.callback(spawn(status.run(), "status").cancel)
    return Kubernetes(source, leader, status)


def _own_namespace(mount: Path = MOUNT) -> str:
    try:
        return (mount / "namespace").read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return os.environ.get("POD_NAMESPACE") or DEFAULT_NAMESPACE
