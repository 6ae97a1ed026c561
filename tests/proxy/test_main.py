"""`weft proxy` as a process: it serves, it says in one line why it can't, it ends in order."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually, eventually_async
from tests.support.weft_proxy import weft_proxy

TYPE = "type.googleapis.com/envoy.extensions.filters"
ACCESS_LOGGERS = "type.googleapis.com/envoy.extensions.access_loggers"
DEADLINE_S = 60.0


def socket_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(port: int, upstream_port: int, **hcm: Any) -> dict[str, Any]:
    """One listener that sends everything to one upstream."""
    manager = {
        "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}],
                }
            ]
        },
        "http_filters": [{"name": "r", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}}],
        **hcm,
    }
    endpoint = {"endpoint": {"address": socket_address(upstream_port)}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": socket_address(port),
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "up",
                    "load_assignment": {
                        "cluster_name": "up",
                        "endpoints": [{"lb_endpoints": [endpoint]}],
                    },
                }
            ],
        }
    }


def fails(config: Path, *options: str) -> str:
    """Runs it until it gives up; the one line that it has to say."""
    command = [sys.executable, "-c", "from weft.cli import main; main()", "proxy"]
    done = subprocess.run(
        [*command, "-c", str(config), *options],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 1, done
    lines = [line for line in done.stderr.splitlines() if line.startswith("weft: error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def written(directory: Path, config: dict[str, Any] | str) -> Path:
    path = directory / "bootstrap.yaml"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


async def test_it_serves_and_stops(tmp_path: Path) -> None:
    async with Upstream([Answer(body=b"hello")]) as upstream:
        port = free_port()
        proxy = weft_proxy(bootstrap(port, upstream.port), tmp_path)
        await asyncio.to_thread(proxy.start)
        try:
            async with Client(port) as client:
                for _ in range(2):
                    answer = await client.request("GET", "/a")
                    assert answer is not None and (answer.status, answer.body) == (200, b"hello")
            assert (await asyncio.to_thread(proxy.stats))["http.in.downstream_rq_2xx"] == 2
        finally:
            code = await asyncio.to_thread(proxy.stop)
        assert code == 0
        assert len(upstream.wires) == 1
        assert "Traceback" not in proxy.log


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_a_request_in_flight_is_finished(tmp_path: Path, sig: signal.Signals) -> None:
    async with Upstream([Answer(body=b"late", delay_s=0.5)]) as upstream:
        port = free_port()
        proxy = weft_proxy(bootstrap(port, upstream.port), tmp_path)
        await asyncio.to_thread(proxy.start)
        try:
            async with Client(port) as client:
                asking = asyncio.create_task(client.request("GET", "/"))  # noqa: TID251
                await eventually_async(lambda: upstream.requests, what="the request is upstream")
                stopping = asyncio.to_thread(proxy.stop, sig)
                answer, code = await asyncio.gather(asking, stopping)
                assert answer is not None and (answer.status, answer.body) == (200, b"late")
                assert answer.get("connection") == "close"
        finally:
            code = await asyncio.to_thread(proxy.stop)
        assert code == 0
        assert "Traceback" not in proxy.log


async def test_new_connections_are_refused_while_it_ends(tmp_path: Path) -> None:
    async with Upstream([Answer(delay_s=1.0)]) as upstream:
        port = free_port()
        proxy = weft_proxy(bootstrap(port, upstream.port), tmp_path)
        await asyncio.to_thread(proxy.start)
        async with Client(port) as client:
            await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await eventually_async(lambda: upstream.requests)
            stopping = asyncio.ensure_future(  # noqa: TID251
                asyncio.to_thread(proxy.stop)
            )
            await eventually_async(lambda: _refused(port), what="refuses connections")
            answer = await client.response()
            assert answer is not None and answer.status == 200
            assert await stopping == 0


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except ConnectionRefusedError:
        return True
    return False


class TestItCanNot:
    def test_a_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            line = fails(written(tmp_path, bootstrap(port, 1)))
        assert f"127.0.0.1:{port}" in line and "in" in line

    def test_an_admin_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            config = {**bootstrap(free_port(), 1), "admin": {"address": socket_address(port)}}
            assert str(port) in fails(written(tmp_path, config))

    def test_no_file(self, tmp_path: Path) -> None:
        assert str(tmp_path / "absent.yaml") in fails(tmp_path / "absent.yaml")

    def test_no_yaml(self, tmp_path: Path) -> None:
        line = fails(written(tmp_path, "static_resources:\n  listeners: [\n"))
        assert "bootstrap.yaml" in line

    def test_a_misspelt_field(self, tmp_path: Path) -> None:
        line = fails(written(tmp_path, "static_resources:\n  listner: []\n"))
        assert "bootstrap.yaml:2" in line and "listner" in line

    def test_a_field_that_is_not_supported(self, tmp_path: Path) -> None:
        config = bootstrap(free_port(), 1, typed_header_validation_config={"name": "strict"})
        line = fails(written(tmp_path, config))
        assert "typed_header_validation_config" in line

    def test_a_cluster_that_is_missing(self, tmp_path: Path) -> None:
        config = bootstrap(free_port(), 1)
        config["static_resources"]["clusters"] = []
        assert "up" in fails(written(tmp_path, config))

    def test_half_of_the_identity(self, tmp_path: Path) -> None:
        line = fails(written(tmp_path, bootstrap(free_port(), 1)), "--ca-address", "127.0.0.1:1")
        assert "--ca-root" in line and "--join-token-file" in line

    def test_a_log_that_can_not_be_opened(self, tmp_path: Path) -> None:
        log = {
            "name": "log",
            "typed_config": {
                "@type": f"{ACCESS_LOGGERS}.file.v3.FileAccessLog",
                "path": str(tmp_path / "absent" / "log"),
            },
        }
        line = fails(written(tmp_path, bootstrap(free_port(), 1, access_log=[log])))
        assert str(tmp_path / "absent") in line


def test_it_says_when_it_serves(tmp_path: Path) -> None:
    port = free_port()
    with weft_proxy(bootstrap(port, 1), tmp_path) as proxy:
        assert isinstance(proxy, ProxyProcess)
        where = f"serving; static: in on 127.0.0.1:{port}"
        eventually(lambda: where in proxy.log, what="says that it serves, and where")
