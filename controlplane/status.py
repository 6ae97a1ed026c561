"""The state of the mesh: configuration, its statuses, and every proxy with what it acknowledged.

One registry, told by the pipeline and by the streams; the management API and the admin pages read
it. `changes` grows with every difference, and `wait` sleeps until it has grown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh, Service, Status
from controlplane.xds.loads import Load, Loads
from controlplane.xds.service import Connection
from controlplane.xds.stream import GONE, Answer
from controlplane.xds.wire import Push
from protos.frozen import frozen
from protos.types import PUSH_ORDER, short_name


@frozen
class TypeStatus:
    """One resource type on one stream. rejected: resource name -> the proxy's message."""

    type_url: str
    sent_version: str
    acked_version: str
    resources: int
    rejected: dict[str, str]


@frozen
class ProxyStatus:
    """One connected proxy. Times are Unix seconds, 0 is never. left_out: users' patches that its
    configuration does without, and why."""

    node_id: str
    namespace: str
    workload: str
    identity: str
    user_agent: str
    variant: str
    connected_at: float
    last_push_at: float
    synced: bool
    types: tuple[TypeStatus, ...]
    left_out: tuple[str, ...] = ()


@frozen
class ServiceStatus:
    """requests and errors: that clients report (LRS)."""

    hostname: str
    namespace: str
    endpoints_total: int
    endpoints_healthy: int
    requests: int = 0
    errors: int = 0


@frozen
class MeshStatus:
    version: str
    changed_at: float
    services: tuple[ServiceStatus, ...] = ()
    proxies: tuple[ProxyStatus, ...] = ()
    objects: tuple[Status, ...] = ()


@dataclass(slots=True)
class StatusRegistry:
    """Implements the streams' Observer. connections: those that are open now. left_out: patches
    that the configuration of a node does without."""

    connections: Callable[[], Iterable[Connection]] = tuple
    loads: Loads | None = None
    left_out: Callable[[Node], tuple[str, ...]] = lambda node: ()
    version: str = ""
    changed_at: float = 0.0
    objects: tuple[Status, ...] = ()
    changes: int = 0
    _services: tuple[Service, ...] = ()
    _changed: asyncio.Event | None = None

    @property
    def services(self) -> tuple[ServiceStatus, ...]:
        loads = self.loads.by_service() if self.loads is not None else {}
        return tuple(_service(one, loads.get(one.hostname)) for one in self._services)

    def configured(
        self, version: str, mesh: Mesh, statuses: tuple[Status, ...], now: float
    ) -> None:
        """A new configuration is in force."""
        if version != self.version:
            self.version, self.changed_at = version, now
        self._services = mesh.services
        self.objects = statuses
        self._note()

    def current(self) -> MeshStatus:
        found = (_proxy(one, self.left_out(one.node)) for one in self.connections())
        proxies = sorted(found, key=lambda proxy: proxy.node_id)
        return MeshStatus(
            self.version, self.changed_at, self.services, tuple(proxies), self.objects
        )

    async def wait(self, seen: int) -> int:
        """Sleeps until there is something newer than `seen`; answers the present `changes`."""
        while self.changes == seen:
            self._changed = self._changed or asyncio.Event()
            await self._changed.wait()
        return self.changes

    def changed(self, connection: Connection) -> None:
        self._note()

    def pushed(self, connection: Connection, push: Push) -> None:
        self._note()

    def rejected(self, connection: Connection, answer: Answer) -> None:
        self._note()

    def converged(self, connection: Connection, after_s: float) -> None:
        self._note()

    def _note(self) -> None:
        """Wakes all who wait now; those who come later wait on a new event."""
        self.changes += 1
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _service(service: Service, load: Load | None) -> ServiceStatus:
    healthy = sum(endpoint.health == "HEALTHY" for endpoint in service.endpoints)
    there = len(service.endpoints)
    sent = (load.issued, load.failed + load.dropped) if load is not None else (0, 0)
    return ServiceStatus(service.hostname, service.namespace, there, healthy, *sent)


def _proxy(connection: Connection, left_out: tuple[str, ...]) -> ProxyStatus:
    node, machine = connection.node, connection.machine
    return ProxyStatus(
        node_id=node.id,
        namespace=node.namespace,
        workload=node.workload,
        identity=str(connection.identity),
        user_agent=node.user_agent,
        variant=connection.variant,
        connected_at=connection.connected_at,
        last_push_at=connection.last_push_at,
        synced=machine.synced and not connection.due,
        types=tuple(_types(connection)),
        left_out=left_out,
    )


def _types(connection: Connection) -> Iterable[TypeStatus]:
    subscriptions = connection.machine.subscriptions
    for type_url in sorted(subscriptions, key=_push_order):
        held = subscriptions[type_url]
        there = sum(version != GONE for version in held.sent.values())
        yield TypeStatus(type_url, held.version, held.acked_version, there, dict(held.rejected))


def _push_order(type_url: str) -> tuple[int, str]:
    known = type_url in PUSH_ORDER
    return (PUSH_ORDER.index(type_url) if known else len(PUSH_ORDER), short_name(type_url))
