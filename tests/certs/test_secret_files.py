"""Secret files: their modes, their atomic replacement, and what is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from certs import files
from certs.errors import CertificateError
from certs.files import create_secret, read_public, read_secret, write_public, write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """The widest umask there is: modes must not depend on the user's."""
    old = os.umask(0)
    yield
    os.umask(old)


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", b"s")
    create_secret(tmp_path / "token", b"s")
    write_public(tmp_path / "pem", b"p")
    assert [mode(tmp_path / name) for name in ("key", "token", "pem")] == [0o600, 0o600, 0o644]


def test_replacing_leaves_one_file_and_tightens_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_secret(path, b"new")
    assert read_secret(path) == b"new"
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    write_secret(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_secret(path, b"new")
    with pytest.raises(OSError, match="No space"):
        create_secret(tmp_path / "other", b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["key"]


def test_a_failed_rename_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "key" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_secret(tmp_path / "key", b"new")
    assert os.listdir(tmp_path) == ["key"]


def test_create_never_overwrites(tmp_path: Path) -> None:
    create_secret(tmp_path / "token", b"first")
    with pytest.raises(FileExistsError):
        create_secret(tmp_path / "token", b"second")
    assert read_secret(tmp_path / "token") == b"first"
    assert os.listdir(tmp_path) == ["token"]


@pytest.mark.parametrize("bits", [0o604, 0o602, 0o601, 0o644, 0o666, 0o620, 0o610])
def test_a_secret_open_to_strangers_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "key"
    write_secret(path, b"s")
    path.chmod(bits)
    with pytest.raises(CertificateError, match=f"mode {bits:04o}") as caught:
        read_secret(path)
    assert str(path) in str(caught.value)
    assert read_public(path) == b"s"


@pytest.mark.parametrize("bits", [0o400, 0o600, 0o440, 0o640])
def test_owner_and_readers_of_the_group_are_no_strangers(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "key"
    write_secret(path, b"s")
    path.chmod(bits)
    assert read_secret(path) == b"s"


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    large = tmp_path / "large"
    large.touch(0o600)
    os.truncate(large, files.MAX_FILE_BYTES + 1)
    for name, complaint in (
        ("pipe", "not a regular file"),
        ("directory", "not a regular file"),
        ("dangling", "No such file"),
        ("large", "larger than"),
        ("missing", "No such file"),
    ):
        with pytest.raises(CertificateError, match=complaint) as caught:
            read_secret(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
