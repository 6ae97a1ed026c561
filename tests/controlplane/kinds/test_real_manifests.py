"""Manifests that nobody here wrote: understood, or refused by a field's name; never a crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controlplane.kinds.parse import Parsed, parse
from controlplane.kinds.registry import KINDS
from tests.support.cases import case_folder

UNDERSTOOD = {kind for _, kind in KINDS}
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
    assert not [line for line in wrong if "websocketUpgrade" not in line], "\n".join(wrong)


def test_bookinfo_and_helloworld_are_read_whole() -> None:
    folder = case_folder("istio-samples") / "samples"
    files = [*manifests(folder / "bookinfo" / "platform"), *manifests(folder / "helloworld")]
    refused = [
        str(status)
        for path in files
        for status in read(path).statuses
        if status.severity == "error" and status.code != "UnknownKind"
    ]
    assert len(files) > 15
    assert not refused, "\n".join(refused)


def table() -> list[dict[str, object]]:
    folder = case_folder("istio-validation")
    rows = json.loads((folder / "validation_table.shared.json").read_text("utf-8"))
    ours = [row for row in rows if row["kind"].rsplit("/", 1)[1] in UNDERSTOOD]
    return [row for row in ours if row["converted"] == "ok"]


# The table has the specs alone; these rows are about the annotation istio.io/dry-run.
DRY_RUN = {
    "dry-run-valid-allow": "true",
    "dry-run-invalid-value": "foo",
    "dry-run-invalid-action-custom": "true",
    "dry-run-invalid-action-audit": "true",
}


def test_validation_agrees_with_istio() -> None:
    """A valid object is read, or refused only for what is not supported yet; the others refused."""
    rows = table()
    assert len(rows) >= 70
    differing = []
    for row in rows:
        version, kind = str(row["kind"]).rsplit("/", 1)
        metadata: dict[str, object] = {"name": "a"}
        if (dry_run := DRY_RUN.get(str(row["name"]))) is not None:
            metadata["annotations"] = {"istio.io/dry-run": dry_run}
        document = {"apiVersion": version, "kind": kind, "metadata": metadata}
        parsed = parse(json.dumps(document | {"spec": row["spec"]}), "row")
        errors = [status for status in parsed.statuses if status.severity == "error"]
        missing = all("not supported yet" in status.message for status in errors)
        if bool(errors) == bool(row["valid"]) and not (row["valid"] and missing):
            differing.append(f"{row['test']} {row['name']}: {[str(e) for e in errors]}")
    assert not differing, "\n".join(differing)
