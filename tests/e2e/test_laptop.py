"""`weft up` and `weft run` as commands: one more process, one mesh for a state directory, an end
that leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.laptop import POSTCARD, ROOT, alive, up
from tests.support.load import Load, load
from tests.support.members import Member, control_plane, kill, member, weft
from tests.support.ports import free_port
from tests.support.postcard import Postcard, copy_postcard
from tests.support.wait import eventually

pytestmark = pytest.mark.timeout(300)

MEMBERS = "cluster.outbound|8080|v1|messenger.default.svc.cluster.local.membership_total"


def test_a_second_mesh_on_the_same_state_is_refused(postcard: Postcard) -> None:
    mesh = postcard.up
    words = ("up", str(POSTCARD), "--state-dir", str(mesh.state), "--port", str(free_port()))
    second = weft(*words)
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith("weft: error: weft up already runs on ")
    assert f"(pid {mesh.child.pid})" in line
    assert "The sea is warm" in postcard.page()


def test_a_gateway_port_in_use_is_named(postcard: Postcard, tmp_path: Path) -> None:
    port = str(postcard.up.port)
    second = weft("up", str(POSTCARD), "--state-dir", str(tmp_path), "--port", port)
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"weft: error: port {port} (--port) is in use")


def test_one_more_process_joins_and_leaves(postcard: Postcard) -> None:
    """It takes its share while it lives, also from a new control plane; no request fails when it
    goes."""
    visitor = postcard.directory / "visitor.py"
    text = (postcard.directory / "messenger.py").read_text("utf-8")
    visitor.write_text(text.replace("The sea is warm", "From afar"), "utf-8")
    command = [sys.executable, "-m", "weft", "run", "--service", "messenger", "--version", "v1"]
    command += ["--state-dir", str(postcard.up.state), "--", sys.executable, str(visitor)]
    with load(postcard.up.port, f"messenger.localhost:{postcard.up.port}") as flowing:
        joined = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            eventually(lambda: from_afar(flowing), 60, "an answer of the visitor")
            share = [one for one in flowing.more(100) if "From afar" in one.text]
            assert "URI=spiffe://cluster.local/ns/weft-system" in share[0].text
            restart_control_plane(postcard)
            assert [one for one in flowing.more(100) if "From afar" in one.text]
            joined.send_signal(signal.SIGTERM)
            _, errors = joined.communicate(timeout=60)
        finally:
            joined.kill()
            joined.wait()
        eventually(lambda: not any("From afar" in one.text for one in flowing.more(50)), 60)
        assert flowing.failures == []
    assert joined.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors


def restart_control_plane(postcard: Postcard) -> None:
    before = control_plane(postcard.up)["pid"]
    kill(before)
    eventually(lambda: control_plane(postcard.up)["pid"] != before, 60, "a new control plane")


def from_afar(flowing: Load) -> bool:
    return any("From afar" in one.text for one in list(flowing.answers))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_end_leaves_nothing_behind_also_after_deaths(
    tmp_path: Path, number: signal.Signals
) -> None:
    directory = copy_postcard(tmp_path / "mesh")
    with up(tmp_path, directory, "--no-restart") as mesh:
        mesh.says("all ready")
        started = mesh.processes()
        assert len(started) >= 10  # a control plane, four applications, five sidecars
        one = member(mesh, "messenger-v1")
        for pid in (
            one.sidecar_pid(),
            member(mesh, "messenger-v2").app_pid(),
            control_plane(mesh)["pid"],
        ):
            kill(pid)
        mesh.says("the sidecar of messenger-v1 killed by SIGKILL")
        mesh.says("messenger-v2 killed by SIGKILL")
        mesh.says("the control plane killed by SIGKILL")
        assert mesh.end(number) == 0, mesh.log
    assert [pid for pid in started if alive(pid)] == []
    assert "Traceback" not in mesh.log
    assert not (mesh.state / "up.json").exists()


def has_members(greeter: Member, count: int) -> bool:
    return greeter.stats()[MEMBERS] == count


def test_processes_follow_the_replicas_in_a_file_and_no_request_fails(tmp_path: Path) -> None:
    directory = copy_postcard(tmp_path / "mesh")
    file = directory / "messenger.yaml"
    text = file.read_text("utf-8")
    with up(tmp_path, directory) as mesh:
        mesh.says("all ready")
        greeter = member(mesh, "greeter")
        assert mesh.get("greeter.localhost").status == 200  # its sidecar holds what it has called
        with load(mesh.port, f"messenger.localhost:{mesh.port}") as flowing:
            for wanted in ("1", "3"):
                file.write_text(text.replace("replicas: 2", f"replicas: {wanted}", 1), "utf-8")
                eventually(partial(has_members, greeter, int(wanted)), 60, f"{wanted} of v1")
                flowing.more(100)
            assert flowing.failures == []
        assert mesh.end() == 0, mesh.log
