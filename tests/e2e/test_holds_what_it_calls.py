"""A real sidecar of `weft run` calls a few of many services: of the others it holds nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from tests.support.client import Client
from tests.support.control_plane import ControlPlane
from tests.support.handmade import Part
from tests.support.process import ProxyProcess
from tests.support.upstream import Upstream
from tests.support.wait import eventually

CALLED = 5
UNRELATED = 200
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{name: http, port: 80}}], selector: {{app: {name}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-1}}
spec: {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{app: {name}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{name}], http: [{{route: [{{destination: {{host: {name}}}}}], timeout: 9s}}]}}
---
"""


def services(folder: Path, prefix: str, count: int, port: int) -> None:
    texts = (SERVICE.format(name=f"{prefix}{number}", port=port) for number in range(count))
    whole = folder.with_name(f"{prefix}.new")
    whole.write_text("".join(texts))
    shutil.move(whole, folder / f"{prefix}.yaml")


def held(proxy: ProxyProcess) -> dict[str, Any]:
    """Every resource of the control plane, without when it came."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items() if name != "last_updated"}
        return [plain(one) for one in value] if isinstance(value, list) else value

    configs = json.loads(proxy.admin("/config_dump?include_eds").body)["configs"]
    return {one["@type"]: plain(one) for one in configs if "Bootstrap" not in one["@type"]}


def synced(plane: ControlPlane, services: int) -> bool:
    """Whether it has all services in force, and the one proxy everything that it wants."""
    status = plane.status()
    (proxy,) = status["proxies"] or [{"synced": False}]
    return len(status["services"]) >= services and bool(proxy["synced"])


async def status_of(port: int, host: str) -> int:
    async with Client(port) as client:
        message = await client.request("GET", "/", [("host", host)])
        assert message is not None, client.received
        return message.status


async def test_a_service_that_it_does_not_call_costs_it_nothing(tmp_path: Path) -> None:
    caller = Part("caller-1", (), {"app": "caller"})
    folder = tmp_path / "mesh"
    folder.mkdir()
    async with Upstream() as upstream:
        (folder / "caller.yaml").write_text(caller.entry())
        services(folder, "called", CALLED, upstream.port)
        plane = ControlPlane(folder, tmp_path / "plane")
        await asyncio.to_thread(plane.start)
        proxy = caller.weft(plane, tmp_path)
        try:
            await asyncio.to_thread(proxy.start)
            for number in range(CALLED):
                assert await status_of(caller.outbound, f"called{number}") == 200
            await asyncio.to_thread(eventually, lambda: synced(plane, CALLED), 60, "what it calls")
            before = await asyncio.to_thread(held, proxy)
            services(folder, "unrelated", UNRELATED, upstream.port)
            everything = CALLED + UNRELATED
            await asyncio.to_thread(eventually, lambda: synced(plane, everything), 60, "more")
            assert await status_of(caller.outbound, "called0") == 200
            assert await asyncio.to_thread(held, proxy) == before
            assert await status_of(caller.outbound, "unrelated7") == 200
            assert await status_of(caller.outbound, "nobody") == 404
            clusters = (await asyncio.to_thread(proxy.admin, "/clusters")).body
            assert "unrelated7." in clusters
            assert "unrelated8." not in clusters
        finally:
            await asyncio.to_thread(proxy.stop)
            await asyncio.to_thread(plane.stop)
