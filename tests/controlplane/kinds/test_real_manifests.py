"""Manifests that nobody here wrote: understood, or refused by a field's name; never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.kinds.parse import Parsed, parse
from controlplane.kinds.registry import KINDS
from tests.support.cases import case_folder

UNDERSTOOD = {kind for _, kind in KINDS}
RETIRED = ("websocketUpgrade", "workloadLabels", "filters", "app")
"""Fields that Istio's API had once, and an API server drops today."""
MANIFESTS = ("*.yaml", "*.yml", "*.json")


def manifests(folder: Path) -> list[Path]:
    found = [path for pattern in MANIFESTS for path in folder.rglob(pattern)]
    return sorted(path for path in found if "verdicts" not in path.name)


def read(path: Path) -> Parsed:
    return parse(path.read_text("utf-8"), path.name)


@pytest.mark.parametrize(
    ("suite", "objects_min"),
    [
        ("istio-samples", 200),
        ("app-acme-fitness", 20),
        ("app-postcard", 5),
        ("istio-pilot-config", 10),
        ("istio-analyze", 60),
        ("istio-inject-golden", 5),
    ],
)
def test_applications_are_understood_or_refused_by_name(suite: str, objects_min: int) -> None:
    """What is refused of a kind that Weft has is a field of it that is not supported yet."""
    objects = 0
    wrong = []
    for path in manifests(case_folder(suite)):
        parsed = read(path)
        objects += len(parsed.objects)
        for status in parsed.statuses:
            assert status.position.line > 0, status
            ours = status.object.split()[0] in UNDERSTOOD and status.severity == "error"
            if ours and status.code == "UnknownField":
                wrong.append(str(status))
    assert objects >= objects_min
    assert not [line for line in wrong if not any(f".{old}:" in line for old in RETIRED)]


def test_bookinfo_and_helloworld_are_read_whole() -> None:
    folder = case_folder("istio-samples") / "samples"
    files = [*manifests(folder / "bookinfo" / "platform"), *manifests(folder / "helloworld")]
    refused = [
        str(status)
        for path in files
        for status in read(path).statuses
        if status.severity == "error"
    ]
    assert len(files) > 15
    assert not refused, "\n".join(refused)
