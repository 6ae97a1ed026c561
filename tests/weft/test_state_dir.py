"""The state directory: one owner, private files, what `weft run` finds in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weft.errors import UserError
from weft.state import Running, StateDir, write_private


def test_the_owner_keeps_others_out_and_is_named(tmp_path: Path) -> None:
    first = StateDir(tmp_path / "state")
    first.lock()
    with pytest.raises(UserError, match=f"already runs on .*pid {os.getpid()}"):
        StateDir(tmp_path / "state").lock()
    first.unlock()
    second = StateDir(tmp_path / "state")
    second.lock()
    second.unlock()


def test_who_did_not_get_it_leaves_it_as_it_is(tmp_path: Path) -> None:
    first, second = StateDir(tmp_path), StateDir(tmp_path)
    first.lock()
    first.write_running(Running(os.getpid(), "/d", "127.0.0.1:8080"))
    with pytest.raises(UserError):
        second.lock()
    second.unlock()
    assert first.running().directory == "/d"
    first.unlock()


def test_the_directory_is_private(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "a" / "state")
    state.lock()
    assert state.path.stat().st_mode & 0o777 == 0o700
    assert state.sidecar("web").stat().st_mode & 0o777 == 0o700
    state.unlock()


def test_a_private_file_is_private_from_its_birth(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old", "utf-8")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.read_text("utf-8") == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_new_owner_forgets_the_ports_of_the_last(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.lock()
    (state.sidecar("web") / "bootstrap.json").write_text("{}", "utf-8")
    (tmp_path / "controlplane.json").write_text("{}", "utf-8")
    (tmp_path / "root.pem").write_text("kept", "utf-8")
    state.unlock()
    state.lock()
    assert not (tmp_path / "sidecars").exists()
    assert not (tmp_path / "controlplane.json").exists()
    assert (tmp_path / "root.pem").exists()
    state.unlock()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"pid": 1}', '{"pid": 0, "x": 1}'])
def test_no_mesh_is_one_clear_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "up.json").write_text(content, "utf-8")
    with pytest.raises(UserError, match=r"no mesh runs on .*start one with: weft up DIR"):
        StateDir(tmp_path).running()


def test_one_that_has_not_said_yet_what_it_runs_is_starting(tmp_path: Path) -> None:
    first = StateDir(tmp_path)
    first.lock()
    with pytest.raises(UserError, match=r"the mesh of .* is still starting"):
        StateDir(tmp_path).running()
    first.unlock()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UserError, match=r"cannot use .*file/state as state directory"):
        StateDir(tmp_path / "file" / "state").lock()
