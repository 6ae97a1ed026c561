"""Two control planes on a real etcd replace their authority, and no request fails: who leads dies
half-way, and so does etcd. Proxies of both kinds, behind one name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from certs.cli import stage
from certs.store import load_store
from protos.gen.weft.v1 import authority_pb2 as pb
from tests.controlplane.test_replicas import PASSPHRASE, ask, replica, svid
from tests.support.balanced import Behind
from tests.support.control_plane import ControlPlane
from tests.support.etcd import Etcd
from tests.support.handmade import Part
from tests.support.process import ProxyProcess
from tests.support.roaming import Roamer
from tests.support.rotating import CONFIG, Server
from tests.support.wait import eventually
from weft import loopback
from weft.errors import UserError
from weft.rotate_online import rotate_online

pytestmark = pytest.mark.timeout(400)
LONG_S = 120.0


class Mesh:
    def __init__(self, directory: Path, stack: ExitStack) -> None:
        config = directory / "mesh"
        config.mkdir()
        self.caller = Part("caller-1", (), {"app": "caller"})
        self.servers = [Server(f"backend-{n}", (), {"app": "backend"}) for n in range(2)]
        (config / "mesh.yaml").write_text(CONFIG)
        for part in (self.caller, *self.servers):
            (config / f"{part.name}.json").write_text(part.entry())
        self.etcd = stack.enter_context(Etcd(directory))
        self.planes = [replica(self.etcd, directory, name) for name in ("one", "two")]
        for plane in self.planes:
            stack.callback(plane.launch().stop)
        for plane in self.planes:
            plane.wait()
        behind = Behind(self.planes)
        stack.callback(behind.close)
        for server in self.servers:
            stack.enter_context(server.running())
        self.sidecars: list[ProxyProcess] = [
            stack.enter_context(self.caller.weft(behind, directory)),  # type: ignore[arg-type]
            stack.enter_context(self.servers[0].weft(behind, directory)),  # type: ignore[arg-type]
            stack.enter_context(self.servers[1].envoy(behind, directory)),  # type: ignore[arg-type]
        ]
        eventually(lambda: self.connected() == 3, LONG_S, "all proxies are connected")
        eventually(lambda: {self.answer() for _ in range(4)} == {200}, LONG_S, "answers")

    def connected(self) -> int:
        return sum(len(plane.status()["proxies"]) for plane in self.planes)

    def answer(self) -> int:
        return loopback.get_now(self.caller.outbound, "/", "fresh:8081").status


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(tmp_path_factory.mktemp("replicas"), stack)


def rotation(plane: ControlPlane) -> pb.Rotation:
    found: pb.Rotation = ask(plane, "GetRotation", pb.GetRotationRequest(), pb.Rotation)
    return found


def staged(plane: ControlPlane) -> str:
    return stage(plane.state, time.time(), None, None, None, PASSPHRASE)


def leader(mesh: Mesh) -> int:
    """Which of the replicas takes the steps: of the other one it is the only one there."""
    found = [plane for plane in mesh.planes if "this replica leads" in plane.log]
    return mesh.planes.index(found[-1])


def test_all_proxies_rehearse_and_no_request_fails_while_leader_and_etcd_die(mesh: Mesh) -> None:
    one = mesh.planes[0]
    before = one.root_pem
    target = staged(one)
    said: list[str] = []
    assert rotate_online(one.state, target, rehearse=True, say=said.append) == 0, said
    assert said == ["3 of 3 proxies verify the new chain, and are verified by it"]
    command = [sys.executable, "-m", "tests.support.traffic", str(mesh.caller.outbound), "60"]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        traffic = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
        stack.callback(traffic.kill)
        addresses = [plane.serving["mtls_address"] for plane in mesh.planes]
        stubborn = stack.enter_context(Roamer("idle", svid(one, "idle"), addresses))
        stubborn.wait_synced()
        ended: list[str] = []
        run = threading.Thread(target=followed, args=(one, target, ended), daemon=True)
        run.start()
        for plane in mesh.planes:
            eventually(partial(only_idle_lacks, plane), LONG_S, "all others are ready")
        dies = leader(mesh)
        left = mesh.planes[1 - dies]
        mesh.planes[dies].stop(signal.SIGKILL)
        mesh.etcd.stop()
        eventually(lambda: "is away" in rotation(left).problem, LONG_S, "it is told")
        mesh.etcd.start()
        eventually(lambda: waits_for(left) <= {"idle"}, LONG_S, "those of the dead one are here")
        assert rotation(left).phase == "issuing"
        without = [one.node_id for one in rotation(left).proxies if "idle" in one.node_id]
        assert rotate_online(left.state, target, without=without, say=said.append) == 0, said
        mesh.planes[dies].start()
        run.join(LONG_S)
        output, _ = traffic.communicate(timeout=120)
    assert ended == ["done"] if dies else "goes on without it" in ended[0]
    kinds = json.loads(output)
    assert {kind: each["failed"] for kind, each in kinds.items() if each["failed"]} == {}
    assert all(each["done"] for each in kinds.values()), kinds
    states = [load_store(plane.state, time.time(), PASSPHRASE).state for plane in mesh.planes]
    assert states[0] == states[1]
    assert states[0].issuing == target
    for plane in mesh.planes:
        assert plane.root_pem == mesh.planes[0].root_pem != before
        assert "Traceback" not in plane.log


def followed(plane: ControlPlane, target: str, ended: list[str]) -> None:
    """As who runs `weft ca rotate` sees it, until its replica dies."""
    try:
        rotate_online(plane.state, target, say=lambda line: None)
        ended.append("done")
    except UserError as error:
        ended.append(str(error))


def only_idle_lacks(plane: ControlPlane) -> bool:
    return waits_for(plane) == {"idle"}


def waits_for(plane: ControlPlane) -> set[str]:
    """Whom the last step but one waits for, by their names; everybody while it is another step."""
    found = rotation(plane)
    if found.waiting_for != "certificates":
        return {"everybody"}
    lacking = [one for one in found.proxies if one.state not in ("done", "skipped")]
    return {"idle" if "idle" in one.node_id else one.node_id for one in lacking}
