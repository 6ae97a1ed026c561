"""Istio's validation: what it takes is taken, what it refuses is refused, fuzzed bytes are read.

table    rows of Istio's own table of specs
crds     documents for its CustomResourceDefinitions, the invalid ones with `_err`
fuzz     inputs that crashed something once: any status, no exception
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import Parsed, parse
from controlplane.translate import build
from tests.conformance.suite import Result

_DRY_RUN = {
    "dry-run-valid-allow": "true",
    "dry-run-invalid-value": "foo",
    "dry-run-invalid-action-custom": "true",
    "dry-run-invalid-action-audit": "true",
}
"""The table has specs alone; these rows are about the annotation istio.io/dry-run."""


def run(cases: Path) -> Iterator[Result]:
    yield from _table(cases)
    for path in sorted((cases / "pkg/config/validation/testdata/crds").glob("*.yaml")):
        yield from _documents(path)
    for path in sorted((cases / "tests/fuzz/testdata").rglob("*")):
        if path.is_file():
            yield Result(f"fuzz/{path.parent.name}/{path.name}", _crash(path.read_bytes()))


def judged(name: str, text: str, valid: bool, source: str = "case.yaml") -> Result:
    """Whether `text` is taken or refused as it should be. What is refused only for want of
    something that is said by name counts as it should."""
    found = errors(parse(text, source))
    if bool(found) != valid:
        return Result(name)
    lacking = [message for code, message in found if code in ("NotSupported", "UnknownKind")]
    if valid and len(lacking) == len(found):
        return Result(name, lacks=lacking[0])
    return Result(name, "; ".join(message for _, message in found) or "is not refused")


def errors(parsed: Parsed) -> list[tuple[str, str]]:
    """(code, message) of all that is refused, also by the translation."""
    statuses = [*parsed.statuses, *build(Snapshot(parsed.objects), "cluster.local")[1]]
    ours = ("InvalidField", "MissingField", "UnknownField", "UnknownKind", "ParseError")
    refusing = (*ours, "NotSupported")
    return [(s.code, s.message) for s in statuses if s.severity == "error" and s.code in refusing]


# --------------------------------------------------------------------------- rows and documents


def _table(cases: Path) -> Iterator[Result]:
    rows = json.loads((cases / "validation_table.shared.json").read_text("utf-8"))
    for row in rows:
        if row["converted"] != "ok":
            continue
        version, kind = row["kind"].rsplit("/", 1)
        metadata: dict[str, Any] = {"name": "a"}
        if (dry_run := _DRY_RUN.get(row["name"])) is not None:
            metadata["annotations"] = {"istio.io/dry-run": dry_run}
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": row["spec"]}
        yield judged(f"table/{row['test']}/{row['name']}", json.dumps(document), row["valid"])


def _documents(path: Path) -> Iterator[Result]:
    for index, document in enumerate(yaml.safe_load_all(path.read_text("utf-8"))):
        if not document:
            continue
        valid = not document.pop("_err", "")
        for about_the_test in [key for key in document if key.startswith("_")]:
            del document[about_the_test]
        metadata = document.setdefault("metadata", {})
        name = metadata.setdefault("name", "a")
        yield judged(f"crds/{path.stem}/{index} {name}", yaml.safe_dump(document), valid)


def _crash(data: bytes) -> str:
    """The bytes as a text, as a spec of each kind and as each half of a document."""
    text = data.decode("utf-8", "replace")
    for candidate in (text, text[: len(text) // 2], *_wrapped(text)):
        try:
            errors(parse(candidate, "fuzz"))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return ""


def _wrapped(text: str) -> Iterator[str]:
    for kind in ("VirtualService", "DestinationRule", "ServiceEntry", "Sidecar", "WorkloadEntry"):
        head = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "a"}}
        yield f'{json.dumps(head)[:-1]}, "spec": {text}}}'
