"""Whom a proxy believes: its file or what the mesh has told it since, whichever changed last."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from certs.errors import CertificateError
from proxy.trust import FILE, Trust
from tests.support.pki import Authority

OLD, NEW, OTHER = (Authority(name).pem for name in ("old", "new", "other"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_text(OLD)
    return path


def roots(trust: Trust) -> list[str]:
    text = trust.roots().decode()
    return [name for name in ("OLD", "NEW", "OTHER") if globals()[name] in text]


def restarted(file: Path, state: Path) -> Trust:
    trust = Trust(file, state)
    trust.load()
    return trust


def test_the_file_counts_until_something_comes(file: Path) -> None:
    trust = Trust(file, None)
    assert roots(trust) == ["OLD"]
    file.write_text(OLD + NEW)
    assert roots(trust) == ["OLD", "NEW"]


def test_what_came_counts_also_after_a_restart(file: Path, tmp_path: Path) -> None:
    trust = Trust(file, tmp_path)
    assert not trust.take(OLD.encode())
    assert trust.take((OLD + NEW).encode())
    assert not trust.take((NEW + OLD).encode())
    assert trust.take(NEW.encode())
    assert roots(trust) == roots(restarted(file, tmp_path)) == ["NEW"]


def test_a_file_that_changes_later_counts_again(file: Path, tmp_path: Path) -> None:
    trust = Trust(file, tmp_path)
    trust.take(NEW.encode())
    file.write_text(OTHER)
    assert roots(trust) == roots(restarted(file, tmp_path)) == ["OTHER"]
    trust.take(NEW.encode())
    assert roots(trust) == ["NEW"]


def test_without_the_file_what_came_is_enough(file: Path, tmp_path: Path) -> None:
    trust = Trust(file, tmp_path)
    trust.take(NEW.encode())
    file.unlink()
    assert roots(trust) == roots(restarted(file, tmp_path)) == ["NEW"]
    with pytest.raises(CertificateError, match=r"root\.pem"):
        Trust(file, None).roots()


def test_a_bundle_without_roots_changes_nothing(file: Path) -> None:
    trust = Trust(file, None)
    trust.take(NEW.encode())
    with pytest.raises(CertificateError, match="the mesh's trust bundle"):
        trust.take(b"nothing")
    assert roots(trust) == ["NEW"]


@pytest.mark.parametrize("spoiled", ["", "{}", "[]", '{"bundle": 1, "file_sha256": ""}', "\x00"])
def test_what_is_spoiled_on_disk_is_named_and_not_used(
    file: Path, tmp_path: Path, spoiled: str, caplog: pytest.LogCaptureFixture
) -> None:
    Trust(file, tmp_path).take(NEW.encode())
    (tmp_path / FILE).write_text(spoiled)
    with caplog.at_level(logging.WARNING, "weft.identity"):
        assert roots(restarted(file, tmp_path)) == ["OLD"]
    assert "trust.json not used" in caplog.text


def test_a_disk_that_cannot_be_written_is_named(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("not a directory")
    trust = Trust(file, tmp_path / "state")
    trust.take(NEW.encode())
    assert roots(trust) == ["NEW"]
    assert "is not kept on disk" in caplog.text
