"""A real Envoy takes what intercepting sidecars get, one mesh after another, live."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from controlplane.mesh.model import Mesh
from tests.support.emit_cases import CASES as EVERY_CASE
from tests.support.intercepting import BOUND, CASES, meshed, text_of
from tests.support.judge import judging
from tests.support.ports import free_port


async def test_envoy_takes_every_mesh(tmp_path: Path) -> None:
    ports = free_port(), free_port()

    def here(mesh: Mesh) -> Mesh:
        """Istio's ports may be somebody else's on this machine."""
        own = replace(mesh.interception, outbound_port=ports[0], inbound_port=ports[1])
        return replace(mesh, interception=own)

    bound = {port: str(free_port()) for port in BOUND}
    meshes = {}
    for name in CASES:
        text = text_of(name)
        for port, free in bound.items():
            text = text.replace(port, free)
        meshes[name] = meshed(text)
    meshes |= {name: build() for name, build in EVERY_CASE.items()}
    async with judging(tmp_path, delta=True, interception="REDIRECT") as judge:
        objections = {}
        for name, mesh in meshes.items():
            if found := await judge.judge(here(mesh), 60.0):
                objections[name] = found
        assert objections == {}
