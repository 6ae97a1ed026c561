"""h2spec: each of its cases that Envoy 1.40 passes, re-made for our server in memory."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.suite import Result
from tests.support import h2spec_generic, h2spec_refused
from tests.support.h2spec import CASES, judged

if not CASES:
    h2spec_generic.add()
    h2spec_refused.add()


def run(cases: Path) -> Iterator[Result]:
    """Of the others (11 fail with Envoy, 1 is skipped) those are judged that we have."""
    listed = json.loads((cases / "cases.json").read_text("utf-8"))
    for written, verdicts in listed.items():
        title = html.unescape(written)
        if title in CASES:
            yield Result(title, judged(title))
        elif verdicts["envoy-1.40.0"] == "pass":
            yield Result(title, "the case is not re-made")
