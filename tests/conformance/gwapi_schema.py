"""Gateway API's examples, each as a real API server judges it: refused or taken.

Objects of other groups stand beside them and are not judged, nor is what the server said because
the object was there already.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from controlplane.kinds.parse import parse
from tests.conformance.suite import Result

_GROUP = "gateway.networking.k8s.io/"
_REFUSED = 422


def run(cases: Path) -> Iterator[Result]:
    verdicts = json.loads((cases / "kube-apiserver-1.36.verdicts.json").read_text())
    for name, rows in sorted(verdicts.items()):
        if not any(row["kind"].startswith(_GROUP) for row in rows):
            continue
        text = (cases / name).read_text()
        documents = [one for one in yaml.load_all(text, yaml.CSafeLoader) if one is not None]
        for row in rows:
            if row["kind"].startswith(_GROUP):
                refused = row["code"] == _REFUSED
                label = f"{name}#{row['doc']} {row['name']}"
                yield _judged(label, documents[row["doc"]], refused)


def _judged(label: str, document: object, refused: bool) -> Result:
    parsed = parse(json.dumps(document), label)
    errors = [str(one) for one in parsed.statuses if one.severity == "error"]
    if refused and parsed.objects:
        return Result(label, "the API server refuses it, Weft takes it")
    if not refused and errors:
        return Result(label, f"the API server takes it: {'; '.join(errors)}")
    return Result(label)
