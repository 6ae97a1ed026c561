"""The bootstrap to begin with, from examples/proxy, served alike by Weft and by the real Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.client import Client
from tests.support.envoy import envoy
from tests.support.laptop import ROOT
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.upstream import Answer, Upstream
from tests.support.weft_proxy import weft_proxy

pytestmark = pytest.mark.timeout(120)

FILE = ROOT / "examples" / "proxy" / "bootstrap.yaml"
LISTENS, UPSTREAM = "port_value: 10000", "port_value: 8000"


def example(port: int, upstream: int) -> dict[str, Any]:
    """The file with its ports replaced."""
    text = FILE.read_text("utf-8")
    assert text.count(LISTENS) == 1
    assert text.count(UPSTREAM) == 1
    text = text.replace(LISTENS, f"port_value: {port}").replace(UPSTREAM, f"port_value: {upstream}")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@pytest.mark.parametrize("start", [envoy, weft_proxy])
async def test_the_example_bootstrap_serves(
    tmp_path: Path, start: Callable[[dict[str, Any], Path], ProxyProcess]
) -> None:
    port = free_port()
    async with Upstream([Answer(body=b"a file")]) as files:
        proxy = start(example(port, files.port), tmp_path)
        await asyncio.to_thread(proxy.start)
        try:
            assert await fetch(port, "/hello") == (200, b"hello from the proxy itself\n")
            assert await fetch(port, "/some") == (200, b"a file")
            stats = await asyncio.to_thread(proxy.stats)
            assert stats["http.front.downstream_rq_2xx"] == 2
            assert stats["cluster.files.upstream_rq_total"] == 1
        finally:
            await asyncio.to_thread(proxy.stop)
    assert '"GET /some HTTP/1.1" 200 - ' in proxy.log


async def fetch(port: int, path: str) -> tuple[int, bytes]:
    async with Client(port) as client:
        message = await client.request("GET", path)
        assert message is not None
        return message.status, message.body
