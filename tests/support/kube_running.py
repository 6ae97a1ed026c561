"""A Kubernetes source that runs against a fake API server over HTTP, in the test's own loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from controlplane.inventory import Inventory, Snapshot
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.mesh.model import Status
from controlplane.sources.kubernetes.client import Client
from controlplane.sources.kubernetes.reflector import Pace
from controlplane.sources.kubernetes.source import KubernetesSource
from controlplane.sources.last_good import LastGood
from controlplane.tasks import spawn
from tests.support.kube_cluster import Document
from tests.support.kube_server import TOKEN, KubeServer, serving

DEADLINE_S = 20.0


@dataclass
class Ticket:
    """An Access with a token, which `renewed` replaces when it is refused."""

    server: str
    token: str = TOKEN
    renewed: list[str] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    proxy: str | None = None

    async def load(self) -> None:
        """There is nothing to load."""

    async def authorization(self) -> str:
        return f"Bearer {self.token}"

    async def renew(self, *, distrusted: bool) -> bool:
        if self.renewed:
            self.token = self.renewed.pop(0)
        return False


@dataclass
class Running:
    """What the source makes of the server. on_change is counted."""

    server: KubeServer
    source: KubernetesSource
    client: Client
    inventory: Inventory
    said: list[str]
    changes: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self) -> None:
        self.changes += 1
        self._news.set()

    @property
    def snapshot(self) -> Snapshot:
        return self.inventory.snapshot()

    def find(self, kind: str, name: str, namespace: str = "default") -> Object | None:
        return self.inventory.find(ObjectKey(kind, namespace, name))

    def statuses(self, *severities: str) -> list[Status]:
        wanted = severities or ("error", "warning")
        return [one for one in self.snapshot.statuses if one.severity in wanted]

    async def until(self, holds: Callable[[], Any], what: str = "") -> None:
        """Fails with what there is if it does not hold soon."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():  # noqa: ASYNC110 -- what is waited for has many places
                    await asyncio.sleep(0.01)
        except TimeoutError:
            state = [item.key for item in self.snapshot.objects], self.statuses()
            raise AssertionError(f"{what or 'it'} never came to be: {state}") from None


def quick(chance: float = 1.0) -> Pace:
    """Waits a hundredth of what it should."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 100)

    return Pace(sleep=sleep, chance=lambda: chance, initial_idle_s=0.5)


@asynccontextmanager
async def running(
    server: KubeServer,
    *,
    namespaces: Sequence[str] = (),
    ready: bool = True,
    token: str = TOKEN,
    handle: Callable[[web.Request], Any] | None = None,
    last_good: Path | None = None,
) -> AsyncIterator[Running]:
    """handle: another server than `server`. last_good: where policies are kept."""
    async with (
        serving(handle or server.handle) as url,
        Client(Ticket(url, token)) as client,
        following(server, client, namespaces, last_good) as one,
    ):
        if ready:
            await asyncio.wait_for(one.source.ready(), DEADLINE_S)
        yield one


@asynccontextmanager
async def following(
    server: KubeServer,
    client: Client,
    namespaces: Sequence[str] = (),
    last_good: Path | None = None,
) -> AsyncIterator[Running]:
    inventory, said, kept = Inventory(), list[str](), LastGood(last_good)
    source = KubernetesSource(
        client, inventory, lambda: one.changed(), namespaces, said.append, quick(), last_good=kept
    )
    one = Running(server, source, client, inventory, said)
    task = spawn(source.run(), "kubernetes")
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def service(name: str, **spec: Any) -> Document:
    ports = [{"name": "http", "port": 80}]
    return {"metadata": {"name": name}, "spec": {"ports": ports, **spec}}


def put(server: KubeServer, plural: str, document: Document, namespace: str = "default") -> None:
    """Creates it, or replaces its spec."""
    cluster = server.cluster
    kind = cluster.named(plural)
    key = (namespace if kind.namespaced else "", document["metadata"]["name"])
    if key in cluster.objects(plural):
        cluster.update(kind, key, document)
    else:
        cluster.create(kind, namespace, document)


def delete(server: KubeServer, plural: str, name: str, namespace: str = "default") -> None:
    kind = server.cluster.named(plural)
    server.cluster.delete(kind, (namespace if kind.namespaced else "", name))
