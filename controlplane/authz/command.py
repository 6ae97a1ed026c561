"""`weft authz explain`: reads a directory of manifests, answers, and is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from controlplane.authz import report
from controlplane.authz.explain import Answer, Question, explain
from controlplane.authz.parties import UnknownParty
from controlplane.inventory import Inventory
from controlplane.mesh.model import Status
from controlplane.sources.files import FileSource, SourceError
from controlplane.translate import build
from protos.frozen import frozen

__all__ = ["Question", "Result", "run"]

ALLOWED, DENIED, CANNOT_TELL, ASKS = 0, 1, 2, 3
_CODES = {"ALLOWED": ALLOWED, "DENIED": DENIED, "ASKS": ASKS}


@frozen
class Result:
    """text: for standard output; complaints: for standard error, one for each line."""

    code: int
    text: str
    complaints: tuple[str, ...] = ()


def run(
    directory: Path,
    question: Question,
    trust_domain: str,
    output: Literal["text", "json"] = "text",
) -> Result:
    """Exit code 0: allowed; 1: denied (by any of several workloads); 3: an ext_authz service
    decides; 2: it can't be told. Objects with errors are named: they were not in force."""
    inventory = Inventory()
    try:
        FileSource(directory, inventory, lambda: None).load()
        snapshot = inventory.snapshot()
        mesh, statuses = build(snapshot, trust_domain)
        answers = explain(mesh, snapshot, question)
    except (SourceError, UnknownParty) as error:
        return Result(CANNOT_TELL, "", (f"weft: error: {error}",))
    if output == "json":
        shown = json.dumps(report.tree(answers), indent=2)
    else:
        shown = report.text(answers)
    return Result(_code(answers), shown, tuple(map(str, filter(_matters, statuses))))


def _code(answers: list[Answer]) -> int:
    """Where workloads differ the worst counts."""
    codes = {_CODES[answer.outcome] for answer in answers}
    return next((code for code in (DENIED, ASKS) if code in codes), ALLOWED)


def _matters(status: Status) -> bool:
    """An error in what decides about access makes an answer doubtful."""
    kind = status.object.partition(" ")[0]
    doubtful = ("AuthorizationPolicy", "RequestAuthentication", "ConfigMap", "File")
    return status.severity == "error" and kind in doubtful
