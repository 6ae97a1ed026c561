"""docs/configuration.md names every kind that is read and every code that is said."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from controlplane.kinds.parse import parse
from controlplane.kinds.registry import KINDS

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).parent / "golden"
WRONG = "kind: Nope\napiVersion: v1\n---\nkind: Service\napiVersion: v1\nmetadata: {nmae: a}\n"


def test_every_code_and_kind_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    words = set(re.findall(r"\w+", page))
    said = {
        line.split(":")[0]
        for path in GOLDEN.glob("*.out.yaml")
        for line in yaml.safe_load(path.read_text("utf-8"))["statuses"]
    }
    said |= {status.code for text in (WRONG, "[") for status in parse(text, "a").statuses}
    assert {"UnknownService", "Shadowed", "UnknownKind", "MissingField", "ParseError"} <= said
    assert said <= words
    assert {kind for _, kind in KINDS} <= words
