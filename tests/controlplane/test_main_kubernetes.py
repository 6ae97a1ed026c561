"""`weft controlplane --kubernetes` as its users meet it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.control_plane import COMMAND
from tests.support.kube_running import put, service
from tests.support.kube_server import KubeServer, kubeconfig, serving
from tests.support.ports import free_port

DEADLINE_S = 60.0


@dataclass
class Process:
    child: asyncio.subprocess.Process
    admin: str
    session: aiohttp.ClientSession
    log: Path

    async def page(self, path: str) -> tuple[int, str]:
        """(0, '') while nobody answers."""
        try:
            async with self.session.get(self.admin + path) as response:
                return response.status, await response.text()
        except aiohttp.ClientError:
            return 0, ""

    async def until(self, path: str, status: int, words: str) -> str:
        """The body of a page that has these words."""
        found: Any = None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while (found := await self.page(path))[0] != status or words not in found[1]:
                    assert self.child.returncode is None, self.log.read_text()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"no {words!r} in {found}") from None
        return str(found[1])

    async def stop(self) -> int:
        self.child.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.child.wait(), DEADLINE_S)


@asynccontextmanager
async def started(url: str, folder: Path, name: str) -> AsyncIterator[Process]:
    (folder / "config").write_text(kubeconfig(url))
    admin, log = free_port(), folder / f"{name}.log"
    options = ["--kubernetes", "--kubeconfig", str(folder / "config")]
    options += ["--state-dir", str(folder / name), "--admin-port", str(admin)]
    with log.open("wb") as file:
        child = await asyncio.create_subprocess_exec(
            *COMMAND, *options, "--port", "0", "--mtls-port", "0", stdout=file, stderr=file
        )
    async with aiohttp.ClientSession() as session:
        try:
            yield Process(child, f"http://127.0.0.1:{admin}", session, log)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


async def test_it_serves_when_everything_was_listed_and_through_an_outage(tmp_path: Path) -> None:
    server = KubeServer(forbidden={("list", "services"), ("watch", "services")})
    put(server, "services", service("web"))
    async with (
        serving(server.handle) as url,
        started(url, tmp_path, "first") as one,
        started(url, tmp_path, "second") as waiting,
    ):
        said = await one.until("/ready", 503, "lacks this rule")
        assert "INITIALIZING" in said
        await waiting.until("/ready", 503, "lacks this rule")
        assert await waiting.stop() == 0, "it can be stopped while it waits"
        server.forbidden.clear()
        await one.until("/ready", 200, "LIVE")
        services = json.loads(await one.until("/status", 200, "web"))["services"]
        assert services[0]["hostname"] == "web.default.svc.cluster.local"
        server.leave()
        await one.until("/status", 200, "the last state stays in force")
        assert (await one.page("/ready"))[0] == 200
        metrics = (await one.page("/metrics"))[1]
        assert 'weft_kubernetes_objects{kind="Service"} 1.0' in metrics
        server.away = False
        put(server, "services", service("more"))
        await one.until("/status", 200, "more.default")
        assert await one.stop() == 0
    (lease,) = server.cluster.objects("leases").values()
    assert lease["spec"]["holderIdentity"] == "", "given back"
    log = one.log.read_text()
    assert "weft: control plane serves Kubernetes:" in log
    assert "Traceback" not in log
