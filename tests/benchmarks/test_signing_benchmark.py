"""The benchmark of signing runs: every row is measured, and what it logs is what it signed."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import signing
from certs.issue_log import IssueLog, read_issues


def test_every_row_is_measured(tmp_path: Path) -> None:
    log = IssueLog(tmp_path)
    works = signing.works(time.time(), log)
    found = signing.measure(works, rounds=1)
    log.close()
    assert found.keys() == works.keys()
    assert all(0 < each_s < 1 for each_s in found.values())
    assert len(list(read_issues(tmp_path))) == signing.SLICE
