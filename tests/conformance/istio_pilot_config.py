"""Istio's own configuration sets for its control plane: what is a manifest applies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from controlplane.kinds.parse import parse
from tests.conformance.suite import Result


def run(cases: Path) -> Iterator[Result]:
    found = {path for pattern in ("*.yaml", "*.yml") for path in cases.rglob(pattern)}
    for path in sorted(found):
        text = path.read_text("utf-8")
        if not _is_manifest(text):
            continue  # what waypoints and bootstraps are given: no objects
        parsed = parse(text, path.name)
        refused = [str(status) for status in parsed.statuses if status.severity == "error"]
        yield Result(str(path.relative_to(cases)), "; ".join(refused[:3]))


def _is_manifest(text: str) -> bool:
    """Every document says what it is."""
    try:
        documents = [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]
    except yaml.YAMLError:
        return False
    return bool(documents) and all(
        isinstance(one, dict) and "apiVersion" in one and "kind" in one for one in documents
    )
