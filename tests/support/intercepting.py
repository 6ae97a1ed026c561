"""Configurations for sidecars that intercept connections, as files."""

from __future__ import annotations

from pathlib import Path

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from tests.support.mesh import TRUST_DOMAIN

GOLDEN = Path(__file__).parents[1] / "controlplane" / "emit" / "sidecars" / "cases"
CASES = tuple(sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml")))


BOUND = ("29080", "23128", "29084")
"""Ports of the cases at which listeners have sockets of their own."""


def intercepted(name: str) -> Mesh:
    return meshed(text_of(name))


def text_of(name: str) -> str:
    return (GOLDEN / f"{name}.in.yaml").read_text()


def meshed(text: str) -> Mesh:
    """The mesh of a text, in which nothing is wrong."""
    parsed = parse(text, "case.yaml")
    inventory = Inventory()
    inventory.replace(Origin.file("case.yaml"), parsed.objects, parsed.statuses)
    mesh, statuses = build(inventory.snapshot(), TRUST_DOMAIN)
    assert [str(one) for one in statuses if one.severity == "error"] == []
    return mesh
