"""A mesh put together part by part: a control plane, applications, and a sidecar of either kind.

Where `weft up` would restart what a test has killed, or would only run Weft's own proxy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.envoy import envoy
from tests.support.laptop import POSTCARD
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy
from weft import loopback
from weft.bootstrap import Node, bootstrap
from weft.registry import WorkloadEntry
from weft.state import write_private


@dataclass(frozen=True, slots=True)
class Part:
    """One workload. app: where its program listens; inbound: its sidecar, for others; outbound:
    its sidecar, for its own program."""

    name: str
    program: tuple[str, ...]
    labels: dict[str, str]
    app: int = field(default_factory=free_port)
    inbound: int = field(default_factory=free_port)
    outbound: int = field(default_factory=free_port)

    @property
    def account(self) -> str:
        return self.labels["app"]

    def entry(self) -> str:
        """Its WorkloadEntry, as `weft up` would register it."""
        return WorkloadEntry(
            name=self.name,
            namespace="default",
            service_account=self.account,
            labels=self.labels,
            listen_ports={"http": self.inbound},
            app_ports={"http": self.app},
        ).manifest()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Its program, accepting requests, until the block ends."""
        own = {"PORT": str(self.app), "http_proxy": f"http://127.0.0.1:{self.outbound}"}
        command = [sys.executable, *self.program]
        with subprocess.Popen(
            command, env={**os.environ, **own}, stdout=subprocess.DEVNULL
        ) as child:
            try:
                eventually(lambda: loopback.get_now(self.app, "/").status, 60, self.name)
                yield
            finally:
                child.kill()

    def weft(self, plane: ControlPlane, directory: Path) -> ProxyProcess:
        """Weft's proxy as its sidecar, not started yet: its own key, certificate from the CA."""
        own = self._directory(directory)
        token = own / "token"
        write_private(token, plane.join_token(self.account))
        node = Node(self.name, "default", self.account, self.labels, self.account, self.outbound)
        root = str(plane.state / "root.pem")
        xds_port = int(plane.serving["mtls_address"].rpartition(":")[2])
        content = bootstrap(node, xds_port=xds_port, admin_port=0, root_file=root)
        options = ["--ca-address", f"127.0.0.1:{plane.port}", "--ca-root", root]
        return weft_proxy(content, own, *options, "--join-token-file", str(token))

    def envoy(self, plane: ControlPlane, directory: Path) -> ProxyProcess:
        """A real Envoy as its sidecar, not started yet: certificate and key by SDS."""
        content: dict[str, Any] = sidecar_bootstrap(
            plane.port,
            plane.root_pem,
            plane.join_token(self.account),
            workload=self.name,
            service_account=self.account,
            http_proxy_port=self.outbound,
            metadata={"LABELS": self.labels},
        )
        return envoy(content, self._directory(directory))

    def _directory(self, below: Path) -> Path:
        own = below / self.name
        own.mkdir(exist_ok=True)
        return own


def greeter() -> Part:
    return Part("greeter-1", (str(POSTCARD / "greeter.py"),), {"app": "greeter"})


def messenger(directory: Path = POSTCARD, name: str = "messenger-1") -> Part:
    """The first version; its program is in `directory`."""
    program = (str(directory / "messenger.py"), "--version", "v1")
    return Part(name, program, {"app": "messenger", "version": "v1"})


def synced(plane: ControlPlane, count: int) -> bool:
    """Whether `count` proxies follow the control plane and have everything it has."""
    proxies = plane.status()["proxies"]
    return len(proxies) == count and all(proxy["synced"] for proxy in proxies)
