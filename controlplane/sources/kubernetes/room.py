"""All that a control plane does with a Kubernetes API server, opened at once and closed at once."""

from __future__ import annotations

import os
import random
import socket
import uuid
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry

from controlplane.inventory import Inventory
from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.model import Status
from controlplane.sources.kubernetes.access import MOUNT, AccessOptions, open_access
from controlplane.sources.kubernetes.client import Client
from controlplane.sources.kubernetes.leader import Leader
from controlplane.sources.kubernetes.metrics import KubernetesMetrics
from controlplane.sources.kubernetes.options import SourceOptions as SourceOptions
from controlplane.sources.kubernetes.source import KubernetesSource
from controlplane.sources.kubernetes.status_writer import StatusWriter
from controlplane.sources.kubernetes.teller import Teller
from controlplane.sources.last_good import LastGood
from controlplane.tasks import spawn
from protos.frozen import frozen

DEFAULT_NAMESPACE = "weft-system"


@frozen
class Kubernetes:
    """tell: what a translation has to say of the objects that are from here."""

    source: KubernetesSource
    leader: Leader
    tell: Callable[[Iterable[ObjectConditions], Iterable[Status]], None]


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
    kept = LastGood(options.last_good)
    source = KubernetesSource(client, inventory, on_change, options.namespaces, say, last_good=kept)
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
    return Kubernetes(source, leader, Teller(source, status).tell)


def _own_namespace(mount: Path = MOUNT) -> str:
    try:
        return (mount / "namespace").read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return os.environ.get("POD_NAMESPACE") or DEFAULT_NAMESPACE
