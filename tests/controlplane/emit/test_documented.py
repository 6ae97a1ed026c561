"""What documented examples become on the wire, kept as files of what differs from the mesh that
they are added to. `WEFT_UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from controlplane.emit.envoy import emit
from controlplane.mesh.model import Mesh
from controlplane.snapshot import check
from proxy.config.decode import name_of
from tests.support.documented import AREAS, FOLDER, KEPT_PORTS, free_ports, inputs, mesh_of
from tests.support.emit_cases import CASES
from tests.support.golden import Parts, as_text, beyond, bodies, hold
from tests.support.golden import parts as parts_of
from tests.support.judge import judging
from tests.support.mesh import node, unmetered

NODE = node(labels={"app": "me", "version": "v1"}, weft_agent=True)


def parts(mesh: Mesh) -> Parts:
    draft = emit(unmetered(mesh), NODE)
    assert check(draft) == ()
    found: Parts = {}
    for type_url, body in bodies(draft):
        found.update(parts_of(type_url, name_of(type_url, body), body))
    return found


@cache
def base() -> Parts:
    return parts(mesh_of("", KEPT_PORTS))


def rendered(area: str) -> str:
    """Of each input what it changes."""
    made = {name: parts(mesh_of(text, KEPT_PORTS)) for name, text in inputs(area).items()}
    return as_text({name: beyond(found, base()) for name, found in made.items()})


def golden(area: str) -> Path:
    return FOLDER / f"{area}.golden.yaml"


@pytest.mark.parametrize("area", AREAS)
def test_examples_become_what_is_kept(area: str) -> None:
    hold(golden(area), rendered(area))


def test_there_are_enough_of_them_and_no_file_is_left_over() -> None:
    assert {path.name.split(".")[0] for path in FOLDER.iterdir()} == {*AREAS, "base"}
    assert sum(len(inputs(area)) for area in AREAS) + len(CASES) >= 150


async def test_envoy_takes_every_example(tmp_path: Path) -> None:
    """One Envoy, mesh after mesh, at ports that are free."""
    ports = free_ports()
    objections: dict[str, Any] = {}
    async with judging(tmp_path, delta=True) as judge:
        for area in AREAS:
            for name, text in inputs(area).items():
                if found := await judge.judge(mesh_of(text, ports)):
                    objections[f"{area}/{name}"] = found
    assert objections == {}
