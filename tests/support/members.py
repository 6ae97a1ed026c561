"""The parts of a mesh that `weft up` runs, as an operator finds them: by their files and ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.laptop import ROOT, Up
from tests.support.wait import eventually
from weft import loopback


@dataclass(frozen=True, slots=True)
class Member:
    """One workload's sidecar: where its admin pages are, where its application calls others."""

    mesh: Up
    name: str
    admin_port: int
    outbound_port: int

    @property
    def inbound_port(self) -> int:
        """Where its sidecar listens for others; waits until it does."""
        ports = eventually(self._inbound_ports, 60, f"the inbound listener of {self.name}")
        (port,) = ports
        return port

    def _inbound_ports(self) -> set[int]:
        text = loopback.get_now(self.admin_port, "/listeners").text
        ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)$", text, re.MULTILINE)}
        return ports - {self.outbound_port}

    def stats(self) -> dict[str, int]:
        """Counters and gauges of the sidecar by Envoy's names."""
        lines = loopback.get_now(self.admin_port, "/stats").text.splitlines()
        pairs = (line.partition(": ") for line in lines)
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    def clusters(self) -> str:
        return loopback.get_now(self.admin_port, "/clusters").text

    def listener_stat(self, name: str) -> int:
        """Of the inbound listener: `ssl.handshake` and so on."""
        return self.stats()[f"listener.127.0.0.1_{self.inbound_port}.{name}"]

    def sidecar_log(self) -> str:
        path = self.mesh.state / "logs" / f"{self.name}-sidecar.log"
        return path.read_text("utf-8", "replace")

    def app_pid(self) -> int:
        """The process of the application; waits until there is one."""
        return eventually(lambda: _with_variable(self.mesh, self._own_proxy), 60, self.name)

    def app_port(self) -> int:
        return int(_environment(self.app_pid())["PORT"])

    def sidecar_pid(self) -> int:
        wanted = str(self.mesh.state / "sidecars" / self.name / "bootstrap.json")
        return eventually(lambda: _with_word(self.mesh, wanted), 60, f"sidecar of {self.name}")

    @property
    def _own_proxy(self) -> str:
        return f"http://127.0.0.1:{self.outbound_port}"


def member(mesh: Up, name: str) -> Member:
    """The workload `name` of a mesh whose sidecars have started."""
    file = mesh.state / "sidecars" / name / "bootstrap.json"
    written = json.loads(file.read_text("utf-8"))
    admin = written["admin"]["address"]["socket_address"]["port_value"]
    outbound = written["node"]["metadata"].get("HTTP_PROXY_PORT", "0")
    return Member(mesh, name, int(admin), int(outbound))


def control_plane(mesh: Up) -> dict[str, Any]:
    """What the control plane wrote when it began to serve: its process and its addresses."""
    file = mesh.state / "controlplane.json"
    written: dict[str, Any] = eventually(lambda: _read(file), 60, "the control plane serves")
    return written


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except OSError:
        return None
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def weft(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, run to its end."""
    command = [sys.executable, "-m", "weft", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=ROOT)


def _with_variable(mesh: Up, proxy: str) -> int:
    for pid in mesh.processes():
        words = _command(pid)
        if _environment(pid).get("http_proxy") == proxy and not _is_ours(words):
            return pid
    return 0


def _with_word(mesh: Up, wanted: str) -> int:
    for pid in mesh.processes():
        if wanted in _command(pid):
            return pid
    return 0


def _is_ours(words: list[str]) -> bool:
    """Whether the process is still on its way to become the application."""
    return any(word.endswith("leash.py") for word in words)


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")
    except OSError:
        return []


def _environment(pid: int) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_text("utf-8", "replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)
