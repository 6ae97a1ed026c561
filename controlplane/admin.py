"""The admin pages of the control plane, for people and Prometheus, on the loopback interface.

/ready                          200 once it serves, and knows all policies that there are
/status                         the mesh as JSON
/metrics                        Prometheus text
/debug/config_dump?node=ID      what a connected proxy was told (without private keys)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

from aiohttp import web

from controlplane.metrics import Metrics
from controlplane.standing import Standing
from controlplane.status import StatusRegistry
from controlplane.xds.dump import dump
from controlplane.xds.service import Connection
from protos.types import short_name

PATHS = "/ready\n/status\n/metrics\n/debug/config_dump?node=ID\n"
Connections = Callable[[], Iterable[Connection]]


class Admin:
    def __init__(
        self,
        standing: Standing,
        registry: StatusRegistry,
        metrics: Metrics,
        connections: Connections,
    ) -> None:
        self._standing = standing
        self._registry = registry
        self._metrics = metrics
        self._connections = connections

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/", self._index)
        application.router.add_get("/ready", self._ready)
        application.router.add_get("/status", self._status)
        application.router.add_get("/metrics", self._text)
        application.router.add_get("/debug/config_dump", self._config_dump)
        return application

    async def _index(self, request: web.Request) -> web.Response:
        return web.Response(text=PATHS)

    async def _ready(self, request: web.Request) -> web.Response:
        standing = self._standing
        doubts = list(standing.doubts())
        if standing.serving and not doubts:
            return web.Response(text="LIVE\n")
        why = "".join(f"{line}\n" for line in (*doubts, *standing.troubles()))
        state = "SERVING" if standing.serving else "INITIALIZING"
        return web.Response(status=503, text=f"{state}\n{why}")

    async def _status(self, request: web.Request) -> web.Response:
        current = asdict(self._registry.current())
        for proxy in current["proxies"]:
            proxy["types"] = {short_name(t.pop("type_url")): t for t in proxy["types"]}
        for item, status in zip(current["objects"], self._registry.objects, strict=True):
            item["position"] = str(status.position)
        return web.json_response(current)

    async def _text(self, request: web.Request) -> web.Response:
        headers = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=self._metrics.text(), headers=headers)

    async def _config_dump(self, request: web.Request) -> web.Response:
        wanted = request.query.get("node", "")
        found = [c for c in self._connections() if wanted in (c.node.id, c.node.workload)]
        if not found:
            known = "".join(f"  {c.node.id}\n" for c in self._connections()) or "  (none)\n"
            text = f"no connected proxy has the node id or workload {wanted!r}; connected:\n{known}"
            return web.Response(status=404, text=text)
        # In a thread: snapshots never change, and a large mesh takes a fifth of a second.
        result: dict[str, Any] = {
            c.node.id: await asyncio.to_thread(dump, c.machine.snapshot) for c in found
        }
        return web.json_response(result)


async def serve(admin: Admin, listening: socket.socket, stack: AsyncExitStack) -> None:
    """Until `stack` ends."""
    runner = web.AppRunner(admin.application(), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listening, shutdown_timeout=0.5).start()
