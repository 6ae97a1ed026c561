"""`weft run` against a mesh of stand-ins: joining, leaving, signals and the exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.laptop import Up, alive, up
from tests.support.wait import eventually
from tests.weft.fake_up import FAKE, FAKE_UP, entries

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from pathlib import Path
from weft import run
from weft.cli import guarded
state, fake, service, *command = sys.argv[1:]
options = run.RunOptions(
    service, tuple(command), version="v2", state_dir=Path(state), program=(sys.executable, fake)
)
guarded(lambda: sys.exit(run.run(options)))
"""
SERVE = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: sys.exit(7))
print("pid", os.getpid(), os.environ["http_proxy"], flush=True)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), BaseHTTPRequestHandler).serve_forever()
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("mesh"), command=FAKE_UP) as running:
        running.says("all ready")
        yield running
        assert running.end() == 0


def run(mesh: Up, service: str, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(mesh.state), FAKE, service, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def joined(mesh: Up) -> set[str]:
    return {name for name in entries(mesh) if name.startswith("messenger-run-")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_joins_and_leaves_with_its_exit_code(mesh: Up, number: signal.Signals) -> None:
    child = run(mesh, "messenger", sys.executable, "-c", SERVE)
    try:
        eventually(lambda: joined(mesh), 60, "its registration")
        child.send_signal(number)
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 7
    assert joined(mesh) == set()
    pid, proxy = output.split()[1:3]
    assert not alive(int(pid))
    assert proxy.startswith("http://127.0.0.1:")
    assert not list((mesh.state / "sidecars").glob("messenger-run-*"))
    assert "joins messenger with PORT=" in errors


def test_one_that_dies_by_itself_is_forgotten(mesh: Up) -> None:
    code = SERVE.replace(
        "for number",
        "import threading; threading.Timer(1, os._exit, [3]).start()\nfor number",
    )
    child = run(mesh, "messenger", sys.executable, "-c", code)
    child.communicate(timeout=60)
    assert child.returncode == 3
    assert joined(mesh) == set()


def test_one_that_was_killed_says_so(mesh: Up) -> None:
    child = run(mesh, "messenger", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + 9
    assert "killed by SIGKILL" in errors


@pytest.mark.parametrize(
    ("service", "command", "error"),
    [
        ("unknown", "true", "no Service unknown in namespace default; it has: greeter.default, me"),
        ("messenger", "no-such-program", "no-such-program is not on PATH"),
    ],
)
def test_what_cannot_join_is_one_clear_line(
    mesh: Up, service: str, command: str, error: str
) -> None:
    child = run(mesh, service, command)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    (line,) = errors.splitlines()
    assert line.startswith("weft: error: ")
    assert error in line
