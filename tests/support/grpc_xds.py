"""gRPC's own xDS clients and servers as child processes, and ADS without TLS for them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from certs.spiffe import SpiffeId
from controlplane.mesh.model import Mesh
from controlplane.rpc.server import Server
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.load_service import LoadService
from controlplane.xds.loads import Loads
from controlplane.xds.service import AdsService
from protos.types import short_name
from tests.support.grpc_program import echo
from tests.support.mesh import TRUST_DOMAIN, mesh
from tests.support.wait import eventually_async

PROGRAM = Path(__file__).with_name("grpc_program.py")
ROOT = PROGRAM.parents[2]
SERVER_TEMPLATE = "grpc/server?xds.resource.listening_address=%s"


class GrpcProgram:
    """`tests.support.grpc_program` (or another that obeys the same lines) as a child."""

    def __init__(self, bootstrap: Path, command: Sequence[str] = (), **env: str) -> None:
        self._command = [*(command or (sys.executable, "-m", "tests.support.grpc_program"))]
        told = {"GRPC_XDS_BOOTSTRAP": str(bootstrap), "GRPC_VERBOSITY": "NONE"}
        self._env = {**os.environ, **told, **env}
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=self._env,
            text=True,
        )

    def order(self, **words: Any) -> Any:
        """Its answer; TestFailed is an EOF."""
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(words) + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
        assert line, f"the program ended with {child.poll()}"
        return json.loads(line)

    def call(self, target: str, count: int = 1, **words: Any) -> list[tuple[str, str]]:
        """(status, text) of each."""
        answer = self.order(call=target, count=count, **words)
        return [(code, text) for code, text in answer]

    def stop(self) -> None:
        child = self._child
        if child.stdin is not None:
            child.stdin.close()
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


@contextmanager
def grpc_program(bootstrap: Path, command: Sequence[str] = (), **env: str) -> Iterator[GrpcProgram]:
    program = GrpcProgram(bootstrap, command, **env)
    try:
        yield program
    finally:
        program.stop()


def write_bootstrap(
    path: Path,
    server_uri: str,
    *,
    account: str = "messenger",
    workload: str = "messenger-1",
    certificates: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    credentials: Mapping[str, Any] | None = None,
    locality: Mapping[str, str] | None = None,
) -> Path:
    """For GRPC_XDS_BOOTSTRAP. certificates: of a file_watcher. credentials: of the channel to the
    control plane, insecure where None."""
    node = {
        "locality": {**(locality or {})},
        "id": f"proxyless~127.0.0.1~{workload}.default~default.svc.cluster.local",
        "metadata": {
            "NAMESPACE": "default",
            "SERVICE_ACCOUNT": account,
            "WORKLOAD_NAME": workload,
            **(metadata or {}),
        },
    }
    server = {
        "server_uri": server_uri,
        "channel_creds": [credentials or {"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    content: dict[str, Any] = {
        "xds_servers": [server],
        "node": node,
        "server_listener_resource_name_template": SERVER_TEMPLATE,
        "certificate_providers": {},
    }
    if certificates is not None:
        config = {**certificates, "refresh_interval": "600s"}
        content["certificate_providers"]["default"] = {
            "plugin_name": "file_watcher",
            "config": config,
        }
    path.write_text(json.dumps(content))
    return path


@contextmanager
def echo_server(name: str, port: int = 0, *, failing: bool = False) -> Iterator[int]:
    """A plain one: its port."""
    server = grpc.server(ThreadPoolExecutor(2), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((echo(name, failing=failing),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(0).wait()


class GrpcJudge:
    """Our ADS service without TLS. Whoever comes is of the service account `account`."""

    def __init__(self, account: str = "messenger") -> None:
        self.account = account
        self.cache = SnapshotCache(mesh(), lambda node: ())
        self.ads = AdsService(self._prove, self.cache, (), time.time)
        self.server = Server()
        self.loads = Loads(lambda: self.cache.mesh)
        reports = LoadService(self._prove, self.loads, interval_s=0.05)
        self.server.add_generic_rpc_handlers((self.ads.handler(), reports.handler()))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _prove(self, context: Any) -> Proof:
        return Proof(SpiffeId.workload(TRUST_DOMAIN, "default", self.account))

    def show(self, candidate: Mesh) -> None:
        self.cache.set_mesh(candidate)
        self.ads.publish()

    async def settled(self, wanted: Mapping[str, set[str]]) -> dict[str, dict[str, str]]:
        """Waits until the clients have asked for these names (by type URL) and answered; what they
        refuse, {type: {resource: why}}. C-core has a stream for each name that is called."""

        def decided() -> bool:
            streams = [connection.machine.subscriptions for connection in self.ads.connections]
            for url, names in wanted.items():
                if not names <= {name for s in streams if url in s for name in s[url].names}:
                    return False
            return not any(one.awaiting for stream in streams for one in stream.values())

        await eventually_async(decided, 60.0, "gRPC clients have what they ask for")
        refused: dict[str, dict[str, str]] = {}
        for connection in self.ads.connections:
            for url, found in connection.machine.rejections.items():
                refused.setdefault(short_name(url), {}).update(found)
        return refused


@asynccontextmanager
async def grpc_judging(account: str = "messenger") -> AsyncIterator[GrpcJudge]:
    judge = GrpcJudge(account)
    await judge.server.start()
    try:
        yield judge
    finally:
        await judge.server.stop(0)


async def in_thread(function: Any, *args: Any, **words: Any) -> Any:
    return await asyncio.to_thread(function, *args, **words)
