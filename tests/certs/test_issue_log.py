"""The issue log: what was written is read, in order, within bounds, also after a crash."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from certs.errors import CertificateError
from certs.issue_log import Issued, IssueLog, read_issues

NOW = 1_800_000_000.0


def entry(number: int) -> Issued:
    return Issued(f"{number:x}", f"spiffe://td/{number}", "token 127.0.0.1", NOW + number, NOW)


def test_reads_what_was_written(tmp_path: Path) -> None:
    log = IssueLog(tmp_path)
    for number in range(3):
        log.record(entry(number))
    log.close()
    again = IssueLog(tmp_path)
    again.record(entry(3))
    again.close()
    assert list(read_issues(tmp_path)) == [entry(number) for number in range(4)]
    assert stat.S_IMODE((tmp_path / "issued.log").stat().st_mode) == 0o600


def test_a_line_is_json_whatever_the_words(tmp_path: Path) -> None:
    said = Issued("ff", "spiffe://td/a", 'token "x" \\ \n \x00 \u20ac said: {}', NOW + 0.25, 7)
    log = IssueLog(tmp_path)
    log.record(said)
    log.close()
    (line,) = (tmp_path / "issued.log").read_bytes().splitlines()
    assert json.loads(line) == asdict(said)
    assert line == json.dumps(asdict(said), separators=(",", ":")).encode()


def test_is_bounded_and_keeps_the_latest(tmp_path: Path) -> None:
    log = IssueLog(tmp_path, max_bytes=1000, kept=2)
    for number in range(100):
        log.record(entry(number))
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["issued.log", "issued.log.1", "issued.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    found = list(read_issues(tmp_path))
    assert found == [entry(number) for number in range(100 - len(found), 100)]
    assert len(found) > 15


def test_two_may_append(tmp_path: Path) -> None:
    one, two = IssueLog(tmp_path), IssueLog(tmp_path)
    for number in range(10):
        (one, two)[number % 2].record(entry(number))
    one.close()
    two.close()
    assert list(read_issues(tmp_path)) == [entry(number) for number in range(10)]


@pytest.mark.parametrize("torn", [b'{"serial":"ff","ide', b"\0" * 100, b"[]", b'{"serial":"1"}'])
def test_a_line_that_a_crash_has_cut_costs_only_itself(tmp_path: Path, torn: bytes) -> None:
    log = IssueLog(tmp_path)
    log.record(entry(1))
    log.close()
    with (tmp_path / "issued.log").open("ab") as file:
        file.write(torn)
    log = IssueLog(tmp_path)
    log.record(entry(2))
    log.close()
    assert list(read_issues(tmp_path)) == [entry(1), entry(2)]


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert list(read_issues(tmp_path)) == []


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "issued.log").mkdir()
    with pytest.raises(CertificateError, match=r"issued\.log: Is a directory"):
        list(read_issues(tmp_path))
