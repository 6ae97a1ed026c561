"""Real applications and samples, from YAML to what a real Envoy acknowledges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.emit.envoy import emit
from controlplane.inventory import Inventory
from controlplane.mesh.model import Mesh
from controlplane.snapshot import check
from controlplane.sources.files import FileSource
from controlplane.translate import build
from tests.support.cases import case_folder
from tests.support.judge import judging
from tests.support.mesh import TRUST_DOMAIN, node

SUITES = (
    "app-acme-fitness",
    "app-postcard",
    "app-refarch-asset",
    "istio-samples",
    "istio-analyze",
    "istio-pilot-config",
)
FILE = "Invalid path: "


def meshes(suite: str) -> Iterator[tuple[str, Mesh]]:
    """Each folder of the suite that holds YAML, as the mesh of its own files and those below."""
    root = case_folder(suite)
    folders = sorted({path.parent for path in root.rglob("*.y*ml")} | {root})
    for folder in folders:
        inventory = Inventory()
        FileSource(folder, inventory, lambda: None).load()
        mesh, _ = build(inventory.snapshot(), TRUST_DOMAIN)
        yield str(folder.relative_to(root)), mesh


@pytest.mark.parametrize("suite", SUITES)
async def test_envoy_takes_what_they_become(suite: str, tmp_path: Path) -> None:
    objections: dict[str, object] = {}
    services = 0
    async with judging(tmp_path, delta=True) as judge:
        for name, mesh in meshes(suite):
            services += len(mesh.services)
            for weft_agent in (True, False):
                draft = emit(mesh, node(weft_agent=weft_agent, gateway=("127.0.0.1", 8080)))
                if problems := check(draft):
                    objections[f"{name} weft_agent={weft_agent}"] = problems
            found = await judge.judge(mesh)
            # Files that a DestinationRule names are the application's, and not on this machine.
            others = [why for one in found.values() for why in one.values() if FILE not in why]
            if others:
                objections[name] = others
    assert services > 0
    assert objections == {}
