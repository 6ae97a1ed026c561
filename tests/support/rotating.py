"""A mesh whose authority is replaced while everything crosses it: a caller's sidecar, and servers
behind sidecars of either kind. Used by a short test and a long run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from certs.cli import stage
from certs.issue_log import read_issues
from certs.store import CA_FOLDER
from tests.support.control_plane import ControlPlane
from tests.support.handmade import Part, synced
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.wait import eventually
from weft import loopback
from weft.registry import WorkloadEntry
from weft.rotate_online import rotate_online

Kind = Literal["weft", "envoy"]
What = Literal["root", "intermediate"]
PORTS = {"http": "http", "grpc": "grpc", "tcp": "tcp"}
CONFIG = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: backend}, ports: [{name: http, port: 8080, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: fresh}
spec: {selector: {app: backend}, ports: [{name: http, port: 8081, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: backend}, ports: [{name: grpc, port: 9000, targetPort: grpc}]}
---
apiVersion: v1
kind: Service
metadata: {name: lines}
spec: {selector: {app: backend}, ports: [{name: tcp, port: 9001, targetPort: tcp}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: fresh}
spec:
  host: fresh
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


@dataclass(frozen=True, slots=True)
class Server(Part):
    """The backend with its three ports. `listen` and `programs`: by the name of the port."""

    listen: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})
    programs: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})

    def entry(self) -> str:
        return WorkloadEntry(
            name=self.name,
            namespace="default",
            service_account=self.account,
            labels=self.labels,
            listen_ports=self.listen,
            app_ports=self.programs,
        ).manifest()

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [sys.executable, "-m", "tests.support.backend"]
        with subprocess.Popen([*command, *(str(self.programs[name]) for name in PORTS)]) as child:
            try:
                web = self.programs["http"]
                eventually(lambda: loopback.get_now(web, "/").status, 60, self.name)
                yield
            finally:
                child.kill()


@dataclass(slots=True)
class Outcome:
    """kinds: as traffic.py says. rotations: what was replaced, and the seconds that it took."""

    kinds: dict[str, Any]
    rotations: list[tuple[str, float]]
    seconds: float

    @property
    def done(self) -> int:
        return sum(one["done"] for one in self.kinds.values())

    @property
    def failed(self) -> dict[str, Any]:
        return {kind: one["failed"] for kind, one in self.kinds.items() if one["failed"]}


class Rotating:
    """callers, servers: the kinds of their sidecars; the first caller's takes the traffic."""

    def __init__(
        self,
        directory: Path,
        stack: ExitStack,
        caller: Kind,
        servers: Sequence[Kind],
        ttl_s: int,
    ) -> None:
        config = directory / "mesh"
        config.mkdir()
        (config / "mesh.yaml").write_text(CONFIG)
        self.directory = directory
        self.root_dir = directory / "offline-root"
        self.caller = Part("caller-1", (), {"app": "caller"})
        self.servers = [
            Server(f"backend-{number}", (), {"app": "backend"}) for number in range(len(servers))
        ]
        parts: list[Part] = [self.caller, *self.servers]
        for part in parts:
            (config / f"{part.name}.json").write_text(part.entry())
        options = ("--allow-sds-keys", "--certificate-ttl", str(ttl_s))
        self.plane = stack.enter_context(ControlPlane(config, directory / "state", *options))
        for server in self.servers:
            stack.enter_context(server.running())
        kinds = (caller, *servers)
        self.sidecars: list[ProxyProcess] = [
            stack.enter_context(getattr(part, kind)(self.plane, directory))
            for part, kind in zip(parts, kinds, strict=True)
        ]
        eventually(lambda: synced(self.plane, len(parts)), 60, "all proxies in sync")
        eventually(lambda: self._answers(), 60, "an answer through the mesh")

    def _answers(self) -> bool:
        return loopback.get_now(self.caller.outbound, "/", "web:8080").status == 200

    def rotate(self, what: What) -> float:
        """Replaces the root (and what is below it), or the intermediate below the same root; the
        seconds that it took."""
        if what == "root":
            self.root_dir = self.directory / f"offline-root-{time.monotonic_ns()}"
        began_s = time.monotonic()
        said: list[str] = []
        target = stage(self.plane.state, time.time(), None, self.root_dir)
        assert rotate_online(self.plane.state, target, say=said.append) == 0, said
        return time.monotonic() - began_s

    def renewals(self) -> int:
        """How many certificates proxies with a key of their own were given, beside the first."""
        issued = [one.identity for one in read_issues(self.plane.state / CA_FOLDER)]
        return len(issued) - len(set(issued))

    def run(self, per_second: float, whats: Iterable[What], pause_s: float = 0.5) -> Outcome:
        """The rotations one after the other, under traffic."""
        began_s = time.monotonic()
        rotations: list[tuple[str, float]] = []
        with self._traffic(per_second) as traffic:
            time.sleep(pause_s)
            for what in whats:
                rotations.append((what, self.rotate(what)))
                time.sleep(pause_s)
            output, _ = traffic.communicate(timeout=120)
        return Outcome(json.loads(output), rotations, time.monotonic() - began_s)

    @contextmanager
    def _traffic(self, per_second: float) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "tests.support.traffic", str(self.caller.outbound)]
        pipe = subprocess.PIPE
        with subprocess.Popen([*command, str(per_second)], stdin=pipe, stdout=pipe) as child:
            try:
                yield child
            finally:
                child.kill()
