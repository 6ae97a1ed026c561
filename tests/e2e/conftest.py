"""One running mesh for all end-to-end tests that can share it: `weft up` on a copy of the postcard.

Its messengers also say who their sidecar let in. Each test gets the files as they were before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.laptop import POSTCARD, Up, alive, up
from tests.support.load import Load, versions
from tests.support.members import Member, control_plane, member
from tests.support.wait import eventually
from weft import loopback

ANSWER = 'answer = {"version": self.version, "message": MESSAGES[self.version]}'
TELLING = 'answer["message"] += f" Seen: {self.headers.get(\'x-forwarded-client-cert\')}"'
EVERYBODY = ("greeter", "messenger-v1", "messenger-v1-2", "messenger-v2")


@dataclass(frozen=True, slots=True)
class Postcard:
    """The running mesh and its directory of YAML."""

    up: Up
    directory: Path

    def member(self, name: str) -> Member:
        return member(self.up, name)

    @property
    def routes(self) -> Path:
        return self.directory / "routes.yaml"

    def write_routes(self, change: str, to: str) -> int:
        """Replaces the first `change` in routes.yaml; the number of its line."""
        text = self.routes.read_text("utf-8")
        assert change in text
        self.routes.write_text(text.replace(change, to, 1), "utf-8")
        return text[: text.index(change)].count("\n") + 1

    def version(self) -> str:
        """Of the configuration in force, once every proxy has it."""
        return eventually(self._synced, 60, "all proxies in sync")

    def _synced(self) -> str | None:
        port = int(control_plane(self.up)["admin_address"].rpartition(":")[2])
        reply = loopback.get_now(port, "/status")
        if reply.status != 200:
            return None
        status = json.loads(reply.body)
        synced = [proxy["synced"] for proxy in status["proxies"]]
        return str(status["version"]) if len(synced) == 1 + len(EVERYBODY) and all(synced) else None

    def page(self) -> str:
        reply = self.up.get("greeter.localhost")
        assert reply.status == 200, reply
        return reply.text


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postcard]:
    directory = copy_postcard(tmp_path_factory.mktemp("postcard") / "mesh")
    with up(directory.parent, directory) as mesh:
        mesh.says("all ready")
        yield Postcard(mesh, directory)
        started = mesh.processes()
        assert mesh.end() == 0, mesh.log
    assert not [pid for pid in started if alive(pid)]
    assert "Traceback" not in mesh.log


def copy_postcard(target: Path) -> Path:
    shutil.copytree(POSTCARD, target)
    program = target / "messenger.py"
    text = program.read_text("utf-8")
    assert ANSWER in text
    program.write_text(text.replace(ANSWER, f"{ANSWER}\n        {TELLING}"), "utf-8")
    return target


@pytest.fixture
def postcard(running: Postcard) -> Iterator[Postcard]:
    before = {path: path.read_bytes() for path in running.directory.glob("*.yaml")}
    version = running.version()
    yield running
    for path in running.directory.glob("*.yaml"):
        if path not in before:
            path.unlink()
        elif path.read_bytes() != before[path]:
            path.write_bytes(before[path])
    eventually(lambda: running.version() == version, 60, "the configuration as it was before")
    assert running.up.child.poll() is None, running.up.log


def all_of(flowing: Load, version: str, count: int = 50) -> bool:
    """Whether only `version` answers now."""
    return set(versions(flowing.more(count))) == {version}
