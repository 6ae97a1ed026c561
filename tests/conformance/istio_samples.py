"""Istio's samples: every document applies without an error, file by file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from controlplane.kinds.parse import parse
from tests.conformance.suite import Result


def run(cases: Path) -> Iterator[Result]:
    found = {path for pattern in ("*.yaml", "*.yml") for path in cases.rglob(pattern)}
    for path in sorted(found):
        name = str(path.relative_to(cases))
        parsed = parse(path.read_text("utf-8"), path.name)
        refused = [str(status) for status in parsed.statuses if status.severity == "error"]
        yield Result(name, "; ".join(refused[:3]))
