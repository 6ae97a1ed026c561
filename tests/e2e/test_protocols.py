"""What is not plain HTTP/1.1 crosses the laptop mesh too: gRPC, WebSocket and TCP, by name."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.laptop import Up, up
from tests.support.members import weft

pytestmark = pytest.mark.timeout(300)
PROGRAMS = Path(__file__).parent / "protocols"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{weft.dev/expose: "{exposed}"}}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: {port}, port: 9000, targetPort: main}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: main
        image: none
        command: ["{python}", {name}.py]
        ports: [{{name: main, containerPort: 9000}}]
---
"""
PORTS = {"echo": "grpc", "chat": "http-chat", "lines": "tcp-lines"}
"""Service by the name of its port, which says the protocol."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    directory = tmp_path_factory.mktemp("protocols") / "mesh"
    shutil.copytree(PROGRAMS, directory)
    (directory / "mesh.yaml").write_text(
        "".join(
            SERVICE.format(name=name, port=port, exposed="false", python=sys.executable)
            for name, port in PORTS.items()
        )
    )
    with up(directory.parent, directory) as running:
        running.says("all ready")
        yield running


def test_programs_reach_each_other_through_http_proxy(mesh: Up) -> None:
    visitor = (sys.executable, str(PROGRAMS / "visitor.py"))
    done = weft("run", "--service", "chat", "--state-dir", str(mesh.state), "--", *visitor)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "grpc": ["hello", "a", "b"],
        "websocket": "hello",
        "tcp": ["200", "line hello\n"],
        "unknown": ["404"],
    }


def test_grpc_through_the_gateway(mesh: Up) -> None:
    options = (("grpc.default_authority", f"echo.localhost:{mesh.port}"),)
    channel: Any
    with grpc.insecure_channel(f"127.0.0.1:{mesh.port}", options) as channel:
        answer, call = channel.unary_unary("/test.Echo/Unary").with_call(b"hi", timeout=30)
        assert (answer, call.trailing_metadata()) == (b"hi", (("x-end", "here"),))
        stream = channel.stream_stream("/test.Echo/Stream")(iter([b"a", b"b"]), timeout=30)
        assert list(stream) == [b"a", b"b"]


def test_websocket_through_the_gateway(mesh: Up) -> None:
    lines = (
        "GET / HTTP/1.1",
        f"host: chat.localhost:{mesh.port}",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        f"sec-websocket-key: {base64.b64encode(bytes(16)).decode()}",
    )
    with socket.create_connection(("127.0.0.1", mesh.port), 30) as client:
        client.sendall("\r\n".join((*lines, "", "")).encode())
        reader = client.makefile("rb")
        assert reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while reader.readline() != b"\r\n":
            pass
        client.sendall(b"\x81\x85" + bytes(4) + b"hello")  # RFC 6455, 5.2: a masked text frame
        assert reader.read(7) == b"\x81\x05hello"
