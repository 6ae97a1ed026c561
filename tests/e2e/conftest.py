"""One running mesh for all end-to-end tests that can share it: `weft up` on a copy of the postcard.

Each test gets the files as they were before.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.laptop import alive, up
from tests.support.postcard import Postcard, copy_postcard
from tests.support.wait import eventually


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postcard]:
    directory = copy_postcard(tmp_path_factory.mktemp("postcard") / "mesh")
    with up(directory.parent, directory) as mesh:
        mesh.says("all ready")
        yield Postcard(mesh, directory)
        started = mesh.processes()
        assert mesh.end() == 0, mesh.log
    assert not [pid for pid in started if alive(pid)]
    # What the programs say (behind a bar) when a test cuts their connections is their own matter.
    ours = [line for line in mesh.log.splitlines() if "│" not in line]
    assert not [line for line in ours if "Traceback" in line]
    own = (*mesh.state.glob("logs/*-sidecar.log"), mesh.state / "logs/controlplane.log")
    assert len(own) > 1
    for log in own:
        assert "Traceback" not in log.read_text("utf-8", "replace"), log.name


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
