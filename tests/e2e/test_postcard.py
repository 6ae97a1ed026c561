"""The postcard mesh as a user meets it: real control plane, real sidecars, real processes.

What it promises: a page whose message crossed two sidecars with mutual TLS, weights that move the
traffic while it flows, deaths that nobody notices, and an end that leaves nothing behind.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.laptop import POSTCARD, ROOT, Up, alive, pid_of, up
from tests.support.wait import eventually

pytestmark = pytest.mark.timeout(300)

ECHO = """
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        seen = self.headers.get("x-forwarded-client-cert", "")
        body = json.dumps({"version": "v1", "message": seen}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Echo).serve_forever()
"""


class Load:
    """Requests to one service from several threads until `stop()`; every answer is kept."""

    def __init__(self, port: int, service: str, per_second: float, threads: int = 4) -> None:
        self.answers: list[tuple[float, int, str]] = []
        self._port, self._host = port, f"{service}.localhost:{port}"
        self._pause_s = threads / per_second
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_s):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                connection.request("GET", "/", headers={"Host": self._host})
                reply = connection.getresponse()
                answer = (reply.status, reply.read().decode())
            except OSError as error:
                answer = (0, str(error))
            finally:
                connection.close()
            self.answers.append((time.monotonic(), *answer))

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Until `more` answers have come."""
        target = len(self.answers) + more
        eventually(lambda: len(self.answers) >= target, 60, f"{more} answers")

    @property
    def failures(self) -> list[tuple[int, str]]:
        return [(status, text[:200]) for _, status, text in self.answers if status != 200]


@contextmanager
def load(mesh: Up, service: str, per_second: float = 100) -> Iterator[Load]:
    running = Load(mesh.port, service, per_second)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(POSTCARD, tmp_path_factory.mktemp("postcard") / "mesh"))


@pytest.fixture(scope="module")
def mesh(directory: Path) -> Iterator[Up]:
    with up(directory.parent, directory) as running:
        running.says("all ready")
        yield running
        started = running.processes()
        assert running.end() == 0, running.log
    assert not [pid for pid in started if alive(pid)]
    assert "Traceback" not in running.log


def set_weights(directory: Path, first: int, second: int) -> None:
    file = directory / "routes.yaml"
    text = file.read_text("utf-8")
    weights = iter((first, second))
    file.write_text(re.sub(r"weight: \d+", lambda _: f"weight: {next(weights)}", text), "utf-8")


def versions(mesh: Up, count: int) -> Counter[str]:
    """What version answered each of `count` requests."""
    replies = [mesh.get("messenger.localhost") for _ in range(count)]
    assert {reply.status for reply in replies} == {200}
    return Counter(str(json.loads(reply.body)["version"]) for reply in replies)


def messenger_pids(mesh: Up) -> list[int]:
    found = []
    for pid in mesh.processes():
        command = Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")
        if "messenger.py" in command:
            found.append(pid)
    return found


def test_check_exits_with_0_and_leaves_nothing(tmp_path: Path) -> None:
    with up(tmp_path, POSTCARD, "--check") as checked:
        assert checked.child.wait(150) == 0, checked.log
    via = "via gateway, greeter, messenger-v1"
    assert re.search(rf"ok   http://greeter\.localhost:\d+/ 200: A postcard.*{via}", checked.log)
    assert re.search(r"ok   http://messenger\.localhost:\d+/ 200: ", checked.log)
    assert "Traceback" not in checked.log


def test_the_page_shows_the_message(mesh: Up) -> None:
    reply = mesh.get("greeter.localhost")
    assert reply.status == 200
    assert "The sea is warm" in reply.text
    assert "&mdash; messenger v1" in reply.text


def test_an_unknown_name_is_told_how_to_ask(mesh: Up) -> None:
    reply = mesh.get("nobody.localhost")
    assert reply.status == 404
    assert f"http://SERVICE.localhost:{mesh.port}/" in reply.text


def test_weights_move_the_traffic_and_no_request_fails(mesh: Up, directory: Path) -> None:
    with load(mesh, "messenger", per_second=200) as running:
        running.wait_for(50)
        assert set(versions(mesh, 20)) == {"v1"}
        set_weights(directory, 50, 50)
        eventually(lambda: len(versions(mesh, 20)) == 2, what="both versions")
        mixed = versions(mesh, 200)
        assert 60 <= mixed["v1"] <= 140
        set_weights(directory, 0, 100)
        eventually(lambda: set(versions(mesh, 20)) == {"v2"}, what="the second version")
        set_weights(directory, 100, 0)
        eventually(lambda: set(versions(mesh, 20)) == {"v1"}, what="the first version")
        running.wait_for(50)
    assert running.failures == []


def test_a_killed_messenger_is_not_noticed_while_another_lives(mesh: Up) -> None:
    with load(mesh, "greeter") as running:
        running.wait_for(50)
        before = mesh.log.count("killed by SIGKILL")
        os.kill(pid_of(mesh, "messenger.py", "v1"), signal.SIGKILL)
        eventually(lambda: mesh.log.count("killed by SIGKILL") > before, what="its death")
        running.wait_for(150)
        eventually(lambda: len(messenger_pids(mesh)) == 3, what="its return")
        running.wait_for(50)
    assert running.failures == []
    missing = [text for _, _, text in running.answers if "no messenger" in text]
    assert missing == []


def test_without_a_messenger_the_page_comes_and_says_so(mesh: Up) -> None:
    eventually(lambda: len(messenger_pids(mesh)) == 3, what="all messengers")
    for pid in messenger_pids(mesh):
        os.kill(pid, signal.SIGKILL)
    reply = mesh.get("greeter.localhost")
    assert reply.status == 200
    assert "no messenger" in reply.text
    eventually(lambda: "The sea is warm" in mesh.get("greeter.localhost").text, what="recovery")


def test_a_killed_control_plane_is_not_noticed(mesh: Up) -> None:
    with load(mesh, "greeter") as running:
        running.wait_for(50)
        os.kill(pid_of(mesh, "controlplane"), signal.SIGKILL)
        running.wait_for(100)
        eventually(lambda: "control plane serves again" in mesh.log, 60, "its return")
        running.wait_for(200)
    assert running.failures == []
    assert [text for _, _, text in running.answers if "no messenger" in text] == []


def test_one_more_process_joins_and_leaves(mesh: Up, directory: Path) -> None:
    code = (directory / "messenger.py").read_text("utf-8").replace("The sea is warm", "From afar")
    (directory / "visitor.py").write_text(code, "utf-8")
    command = [sys.executable, "-m", "weft", "run", "--service", "messenger", "--version", "v1"]
    command += ["--state-dir", str(mesh.state), "--", sys.executable, str(directory / "visitor.py")]
    visitor = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    with load(mesh, "messenger") as running:
        try:
            eventually(
                lambda: any("From afar" in text for _, _, text in running.answers),
                60,
                "an answer of the visitor",
            )
            visitor.terminate()
            _, errors = visitor.communicate(timeout=60)
        finally:
            visitor.kill()
        running.wait_for(50)
    assert "Traceback" not in errors
    assert visitor.returncode == 128 + signal.SIGTERM
    assert running.failures == []


def test_a_wrong_field_is_said_with_its_place_and_the_mesh_goes_on(
    mesh: Up, directory: Path
) -> None:
    file = directory / "routes.yaml"
    good = file.read_text("utf-8")
    file.write_text(good.replace("weight: 100", "wieght: 100"), "utf-8")
    line = good.splitlines().index("          weight: 100") + 1
    mesh.says(f"routes.yaml:{line}:")
    assert mesh.get("greeter.localhost").status == 200
    file.write_text(good, "utf-8")
    mesh.says("resolved: ")


def test_the_peer_is_known_and_plain_text_is_refused(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(POSTCARD, tmp_path / "mesh"))
    (directory / "messenger.py").write_text(ECHO, "utf-8")
    with up(tmp_path, directory) as running:
        running.says("all ready")
        seen = running.get("greeter.localhost").text
        assert "URI=spiffe://cluster.local/ns/default/sa/greeter" in seen
        port = inbound_port(running, "messenger-v1")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.request("GET", "/")
            connection.getresponse()
        connection.close()
        assert running.end() == 0


def inbound_port(mesh: Up, workload: str) -> int:
    """Where a workload's sidecar listens for others: asked at its admin port."""
    file = mesh.state / "sidecars" / workload / "bootstrap.json"
    admin = json.loads(file.read_text("utf-8"))["admin"]["address"]["socket_address"]["port_value"]
    outbound = json.loads(file.read_text("utf-8"))["node"]["metadata"]["HTTP_PROXY_PORT"]
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=20)
    connection.request("GET", "/listeners")
    text = connection.getresponse().read().decode()
    connection.close()
    ports = [port for port in re.findall(r"127\.0\.0\.1:(\d+)", text) if port != outbound]
    return int(ports[0])
