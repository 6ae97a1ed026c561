"""What people write, by the examples of Istio's, Gateway API's and Kubernetes' documentation:
inputs that are each added to one small mesh (tests/controlplane/emit/documented).

A file has what all of its inputs begin with, then `=== name` and the rest of each. `@http@` and the
like are ports, `@certificate@`, `@key@` and `@ca@` PEM.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import Parsed, parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from controlplane.translate.memo import Memo
from tests.support.mesh import TRUST_DOMAIN
from tests.support.pki import Authority
from tests.support.ports import free_port

FOLDER = Path(__file__).parents[1] / "controlplane" / "emit" / "documented"
AREAS = tuple(
    sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem.count(".") == 0 and p.stem != "base")
)
KEPT_PORTS = {"inbound": 19101, "http": 18080, "https": 18443, "tcp": 19000}
"""Those that golden files have."""


def free_ports() -> dict[str, int]:
    return {name: free_port() for name in KEPT_PORTS}


def inputs(area: str) -> dict[str, str]:
    """The manifests of each input of a file, without those of the mesh that they are added to."""
    head, *rest = re.split(r"(?m)^=== (\w+)\n", (FOLDER / f"{area}.yaml").read_text("utf-8"))
    return {name: head + text for name, text in zip(rest[::2], rest[1::2], strict=True)}


def mesh_of(text: str, ports: Mapping[str, int]) -> Mesh:
    """The base with these manifests. What is wrong with any is an error here."""
    base, memo = _base(tuple(ports.items()))
    parsed = parse(filled(text, ports), "documented.yaml")
    snapshot = Snapshot((*base.objects, *parsed.objects), (*base.statuses, *parsed.statuses))
    mesh, statuses = build(snapshot, TRUST_DOMAIN, memo)
    wrong = [str(one) for one in statuses if one.severity == "error"]
    assert not wrong, wrong
    return mesh


@cache
def _base(ports: tuple[tuple[str, int], ...]) -> tuple[Parsed, Memo]:
    """Which is read and translated once."""
    text = (FOLDER / "base.yaml").read_text("utf-8")
    return parse(filled(text, dict(ports)), "base.yaml"), Memo()


def filled(text: str, ports: Mapping[str, int]) -> str:
    for name, value in (*ports.items(), *_pem().items()):
        text = text.replace(f"@{name}@", str(value))
    return text


@cache
def _pem() -> Mapping[str, str]:
    """As JSON strings, which are YAML's, too."""
    root = Authority()
    pair = root.issue(dns=("httpbin.example.com",))
    found = {"certificate": pair.certificate, "key": pair.key, "ca": root.pem}
    return {name: json.dumps(pem) for name, pem in found.items()}
