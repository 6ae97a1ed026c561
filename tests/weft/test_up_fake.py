"""`weft up` from its first line to its last, against stand-ins of the control plane and the proxy:
order, readiness, restarts, errors, and that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.laptop import POSTCARD, Up, alive, pid_of, up
from tests.support.ports import free_port
from tests.support.wait import eventually
from tests.weft.fake_up import FAKE_UP, entries

fake_up = partial(up, command=FAKE_UP)


def test_check_answers_and_leaves_nothing(tmp_path: Path) -> None:
    with fake_up(tmp_path, POSTCARD, "--check") as mesh:
        assert mesh.child.wait(90) == 0, mesh.log
        port = mesh.port
    assert f"ok   http://greeter.localhost:{port}/ 200: A postcard, woven by Weft" in mesh.log
    assert f"ok   http://messenger.localhost:{port}/ 200: " in mesh.log
    assert "via gateway, greeter" in mesh.log
    assert "Traceback" not in mesh.log


def test_the_page_has_the_message_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with fake_up(tmp_path) as mesh:
        mesh.says(f"greeter: http://greeter.localhost:{mesh.port}/")
        reply = mesh.get("greeter.localhost")
        assert reply.status == 200
        assert "&mdash; messenger v" in reply.text
        started = mesh.processes()
        assert len(started) == 11  # a control plane, four apps, five sidecars, a guardian
        assert mesh.end() == 0, mesh.log
    assert not [pid for pid in started if alive(pid)]
    assert "Traceback" not in mesh.log


def test_killed_with_9_it_leaves_nothing(tmp_path: Path) -> None:
    with fake_up(tmp_path) as mesh:
        mesh.says("all ready")
        started = mesh.processes()
        mesh.end(signal.SIGKILL)
    eventually(lambda: not [pid for pid in started if alive(pid)], what="the end of all")


def test_the_passphrase_is_for_the_control_plane_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WOVEN", "swordfish")

    def knows(pid: int) -> bool:
        return b"WOVEN=swordfish" in Path(f"/proc/{pid}/environ").read_bytes()

    with fake_up(tmp_path, POSTCARD, "--state-passphrase-file", "env:WOVEN") as mesh:
        mesh.says("all ready")
        plane = pid_of(mesh, "controlplane", "env:WOVEN")
        assert knows(plane)
        assert [pid for pid in mesh.processes() if knows(pid)] == [plane]
        assert mesh.end() == 0, mesh.log


def test_a_killed_app_leaves_the_mesh_and_comes_back(tmp_path: Path) -> None:
    with fake_up(tmp_path) as mesh:
        mesh.says("all ready")
        os.kill(pid_of(mesh, "messenger.py", "v2"), signal.SIGKILL)
        mesh.says("messenger-v2 killed by SIGKILL; starting again in 1 s")
        eventually(lambda: "messenger-v2" not in entries(mesh), what="its removal")
        eventually(lambda: "messenger-v2" in entries(mesh), what="its return")
        assert mesh.end() == 0


def test_a_restarted_control_plane_is_told_again(tmp_path: Path) -> None:
    with fake_up(tmp_path) as mesh:
        mesh.says("all ready")
        os.kill(pid_of(mesh, "controlplane"), signal.SIGKILL)
        mesh.says("the control plane killed by SIGKILL; starting again in 1 s")
        mesh.says("control plane serves again")
        eventually(lambda: len(entries(mesh)) == 4, what="all entries again")
        assert mesh.end(signal.SIGTERM) == 0


def test_the_processes_follow_the_directory(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(POSTCARD, tmp_path / "mesh"))
    file = directory / "messenger.yaml"
    text = file.read_text("utf-8")
    with fake_up(tmp_path, directory) as mesh:
        mesh.says("all ready")
        assert entries(mesh) == {"greeter", "messenger-v1", "messenger-v1-2", "messenger-v2"}
        before = pid_of(mesh, "messenger.py", "v2")
        file.write_text(text.replace("replicas: 2", "replicas: 1", 1), "utf-8")
        eventually(lambda: "messenger-v1-2" not in entries(mesh), what="fewer of the first")
        file.write_text(text.replace("replicas: 1", "replicas: 2", 1), "utf-8")
        eventually(lambda: "messenger-v2-2" in entries(mesh), what="more of the second")
        file.write_text(text.replace("command: [python, messenger.py]", "command: []"), "utf-8")
        mesh.says("(the processes stay as they are)")
        assert mesh.get("messenger.localhost").status == 200
        assert alive(before)
        assert mesh.end() == 0


def test_a_second_one_is_told_who_has_the_state(tmp_path: Path) -> None:
    with fake_up(tmp_path) as mesh:
        mesh.says("all ready")
        second = Up(POSTCARD, mesh.state, free_port(), tmp_path / "log2", command=FAKE_UP)
        assert second.child.wait(60) == 1
        assert f"pid {mesh.child.pid}" in second.log
        assert mesh.get("greeter.localhost").status == 200
        assert mesh.end() == 0


def test_a_control_plane_that_cannot_start_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CONTROLPLANE_FAILS", "1")
    with fake_up(tmp_path) as mesh:
        assert mesh.child.wait(60) == 1
    last = mesh.log.splitlines()[-1]
    assert last.startswith("weft: error: the control plane ended while starting: routes.yaml:3:1")


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - command: [COMMAND]
"""


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no Deployment (apps/v1): nothing to run"),
        ("a: [", "web.yaml:1:5: not YAML"),
        (DEPLOYMENT.replace("[COMMAND]", "[]"), "web.yaml:8:20: spec.template.spec.containers[0]"),
        (DEPLOYMENT.replace("COMMAND", "no-such-thing"), "web.yaml:3:18: no-such-thing is not on"),
        (DEPLOYMENT.replace("COMMAND", "./nothing"), "web.yaml:3:18: ./nothing is not a program"),
    ],
)
def test_what_cannot_run_is_one_clear_line(tmp_path: Path, text: str, error: str) -> None:
    directory = tmp_path / "mesh"
    directory.mkdir()
    (directory / "web.yaml").write_text(text, "utf-8")
    with fake_up(tmp_path, directory) as mesh:
        assert mesh.child.wait(60) == 1
    (line,) = mesh.log.splitlines()
    assert line.startswith("weft: error: ")
    assert error in line


SILENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - command: [sleep, "1000"]
          ports: [{name: http, containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports: [{name: http, port: 80}]
"""


def test_an_app_that_does_not_listen_is_told_where_it_should(tmp_path: Path) -> None:
    directory = tmp_path / "mesh"
    directory.mkdir()
    (directory / "web.yaml").write_text(SILENT, "utf-8")
    with fake_up(tmp_path, directory) as mesh:
        mesh.says("waiting for web (running, but nothing listens on 127.0.0.1:")
        assert mesh.end() == 0


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with fake_up(tmp_path) as first:
        first.says("all ready")
        second = Up(POSTCARD, tmp_path / "other", first.port, tmp_path / "log2", command=FAKE_UP)
        assert second.child.wait(60) == 1
        first.end()
    (line,) = second.log.splitlines()
    assert line == (
        f"weft: error: port {first.port} (--port) is in use; free it or give another one"
    )


def test_stopping_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    with fake_up(tmp_path) as mesh:
        mesh.says("control plane is starting")
        deadline = time.monotonic() + 20
        while not (started := mesh.processes()) and time.monotonic() < deadline:
            pass
        assert mesh.end() == 0, mesh.log
    assert not [pid for pid in started if alive(pid)]
