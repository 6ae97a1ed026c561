"""The example bootstrap of the proxy alone: Envoy and Weft serve the same answers with it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.envoy import ROOT, envoy
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.weft_proxy import weft_proxy

BOOTSTRAP = ROOT / "examples" / "proxy" / "bootstrap.yaml"


class Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"file {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream_port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def on_free_ports(upstream_port: int) -> tuple[dict[str, Any], int]:
    """The example with its listener and its upstream moved, and where it listens."""
    content: dict[str, Any] = yaml.safe_load(BOOTSTRAP.read_text("utf-8"))
    port = free_port()
    resources = content["static_resources"]
    resources["listeners"][0]["address"]["socket_address"]["port_value"] = port
    (endpoints,) = resources["clusters"][0]["load_assignment"]["endpoints"]
    address = endpoints["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    address["port_value"] = upstream_port
    return content, port


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    reply = connection.getresponse()
    answer = (reply.status, reply.read().decode())
    connection.close()
    return answer


@pytest.mark.parametrize("start", [weft_proxy, envoy])
def test_it_serves_its_own_answer_and_the_upstreams(
    tmp_path: Path, upstream_port: int, start: Callable[[dict[str, Any], Path], ProxyProcess]
) -> None:
    content, port = on_free_ports(upstream_port)
    with start(content, tmp_path) as proxy:
        assert get(port, "/hello") == (200, "hello from the proxy itself\n")
        assert get(port, "/a/b?c=1") == (200, "file /a/b?c=1\n")
        assert proxy.stats()["http.front.downstream_rq_total"] == 2
