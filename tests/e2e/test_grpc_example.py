"""The example of gRPC's own xDS on a laptop: no proxy on the way, and all the mesh's rules hold."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from envoy.service.status.v3.csds_pb2 import (
    SYNCED,
    ClientStatusRequest,
    ClientStatusResponse,
)

from tests.support.laptop import ROOT, Up, up

pytestmark = pytest.mark.timeout(300)

NODE_PEER = ROOT / ".peers" / "grpc-node" / "node_modules"
EXAMPLE = ROOT / "examples" / "grpc"
ORDER = {"call": "xds:///greeter:50051", "method": "/example.Greeter/Greet"}
CALLS = 100
OURS = "spiffe://cluster.local/ns/default/sa/caller"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """In a folder with a short name: the agent's sockets are below it."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    monkeypatch.setenv("PEERS", str(NODE_PEER.parent))
    with TemporaryDirectory(prefix="weft-") as place:
        directory = Path(place) / "mesh"
        shutil.copytree(EXAMPLE, directory)
        with up(Path(place), directory) as mesh:
            mesh.says("all ready")
            yield mesh
            assert mesh.end() == 0, mesh.log
        keys = list(Path(place).rglob("key.pem"))
        assert not keys, "private keys are left behind"


def run(mesh: Up, account: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """The caller joins, and with it JavaScript's client, if it is installed; said: its orders."""
    programs = f"{sys.executable} {EXAMPLE / 'caller.py'} {CALLS}"
    if NODE_PEER.is_dir():
        programs += f" && node {ROOT / 'tests' / 'support' / 'grpc_program.mjs'}"
    joining = [sys.executable, "-m", "weft", "run", "--service", "caller", "--grpc"]
    joining += ["--service-account", account, "--state-dir", str(mesh.state), "--"]
    return subprocess.run(
        [*joining, "sh", "-c", programs],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        input=f"{said}\n" if said else "",
    )


def test_servers_and_clients_without_a_proxy(running: Up) -> None:
    key = running.state / "sidecars" / "greeter-v1" / "certs" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    done = run(running, "caller", said=json.dumps(ORDER))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    said = Counter(lines[:CALLS])
    assert set(said) == {f"hello world from {OURS}, says {one}" for one in ("v1", "v2")}
    assert said[f"hello world from {OURS}, says v2"] < 40
    for line in lines[CALLS:]:  # what JavaScript's client has heard
        ((code, text),) = json.loads(line)
        assert (code, text.partition(",")[0]) == ("OK", f"hello  from {OURS}")
    assert len(lines) == CALLS + NODE_PEER.is_dir()
    stranger = run(running, "somebody")
    assert "PERMISSION_DENIED" in stranger.stderr
    everybody = {one.node.id: one for one in client_status(running).config}
    own = "127.0.0.1~greeter-v2.default~default.svc.cluster.local"
    assert f"agent~{own}" in everybody
    found = everybody[f"proxyless~{own}"].generic_xds_configs
    assert {one.config_status for one in found} == {SYNCED}


def client_status(mesh: Up) -> ClientStatusResponse:
    """What the control plane says that clients have (CSDS), asked as the administrator."""
    state = mesh.state
    address = json.loads((state / "controlplane.json").read_text())["address"]
    credentials = grpc.ssl_channel_credentials((state / "root.pem").read_bytes())
    token = (state / "admin.token").read_text().strip()
    with grpc.secure_channel(address, credentials) as channel:
        fetch = channel.unary_unary(
            "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
            ClientStatusRequest.SerializeToString,
            ClientStatusResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {token}"),)
        answer: ClientStatusResponse = fetch(ClientStatusRequest(), metadata=metadata, timeout=60)
        return answer
