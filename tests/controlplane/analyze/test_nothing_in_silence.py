"""What users must hear of is told where it stands, and where it is the other's doing, with the
other's place."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from controlplane.analyze import analyze
from controlplane.kinds.parse import parse

CASE = Path(__file__).with_name("nothing_in_silence.yaml")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_each_thing_is_told_at_its_place() -> None:
    text = CASE.read_text("utf-8")
    marked = {
        (found[1], number)
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.search(r" # ([A-Z]\w+)$", line)) is not None
    }
    manifests = {CASE.name: parse(text, CASE.name)}
    said = analyze(manifests, "cluster.local", NOW).statuses
    found = {(one.code, one.position.line) for one in said if not one.code.startswith("IST")}
    assert found == marked
    for one in said:
        assert one.position.column > 0
        if one.code in ("Conflict", "Shadowed", "Duplicate"):
            assert re.search(rf"{CASE.name}:\d+:\d+", one.message), one
