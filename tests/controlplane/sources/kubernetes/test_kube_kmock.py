"""The source against `kmock`, a fake that others have written: opaque resource versions, watches
that begin with all there is, no bookmarks, no aggregated discovery, no pages."""

from __future__ import annotations

from typing import Any

import kmock

from controlplane.sources.kubernetes.client import Client
from tests.support.kube_running import Running, Ticket, following, service
from tests.support.kube_server import KubeServer

SERVICES = "/api/v1/namespaces/default/services"
ROUTES = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


def route(*hosts: str) -> dict[str, Any]:
    to = [{"destination": {"host": "web"}}]
    spec = {"hosts": list(hosts), "http": [{"route": to}]}
    return {"metadata": {"name": "v", "namespace": "default"}, "spec": spec}


def declare(server: Any, key: str, kind: str) -> None:
    info = kmock.ResourceInfo(kind=kind, namespaced=True, verbs=frozenset(VERBS))
    server.resources[key] = info


async def watching(one: Running) -> None:
    """Until both kinds are watched: what happens before that, kmock tells nobody."""

    def both() -> bool:
        return all(c.events or c.lists["opaque"] for c in one.source.collections.values())

    await one.until(lambda: len(one.source.collections) == 2 and both())


async def test_objects_come_change_and_go() -> None:
    async with kmock.KubernetesEmulator() as server, kmock.Server(server) as at:
        declare(server, "v1/services", "Service")
        declare(server, "networking.istio.io/v1/virtualservices", "VirtualService")
        web = service("web")
        web["metadata"]["namespace"] = "default"
        await at.client.post(SERVICES, json=web)
        await at.client.post(ROUTES, json=route("web"))
        url = str(at.url).rstrip("/")
        async with Client(Ticket(url)) as client, following(KubeServer(), client) as one:
            await one.until(lambda: one.source.is_ready)
            assert one.find("Service", "web")
            assert one.find("VirtualService", "v")
            await watching(one)
            await at.client.patch(f"{SERVICES}/web", json={"spec": {"selector": {"app": "x"}}})
            await one.until(lambda: "'app': 'x'" in repr(one.find("Service", "web")))
            more = service("more")
            more["metadata"]["namespace"] = "default"
            await at.client.post(SERVICES, json=more)
            await one.until(lambda: one.find("Service", "more"))
            await at.client.delete(f"{SERVICES}/more")
            await at.client.delete(f"{ROUTES}/v")
            await one.until(lambda: not one.find("Service", "more"))
            await one.until(lambda: not one.find("VirtualService", "v"))
            assert not one.statuses()
