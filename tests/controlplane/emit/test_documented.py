"""What documented examples become on the wire, kept as files of what differs from the mesh that
they are added to. `WEFT_UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.emit.envoy import emit
from controlplane.mesh.model import Mesh
from controlplane.snapshot import check
from protos.types import CDS, EDS, LDS, RDS, short_name
from proxy.config.decode import decode, name_of
from proxy.xds.as_json import as_json
from tests.support.documented import AREAS, FOLDER, KEPT_PORTS, free_ports, inputs, mesh_of
from tests.support.emit_cases import CASES
from tests.support.judge import judging
from tests.support.mesh import node

NODE = node(labels={"app": "me", "version": "v1"}, weft_agent=True)
Parts = dict[str, Any]


class Dumper(yaml.CSafeDumper):
    """What two inputs have in common is written out in both."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def parts(mesh: Mesh) -> Parts:
    """Resources, of a listener its chains and of a route table its hosts each for itself."""
    draft = emit(mesh, NODE)
    assert check(draft) == ()
    found: Parts = {}
    for type_url, messages in (
        (CDS, draft.clusters),
        (EDS, draft.endpoints),
        (LDS, draft.listeners),
        (RDS, draft.routes),
    ):
        for message in messages:
            body = message.SerializeToString(deterministic=True)
            found.update(_shown(type_url, name_of(type_url, body), body))
    return found


@cache
def _shown(type_url: str, name: str, body: bytes) -> Parts:
    decode(type_url, body)  # as our own proxy reads it
    resource = json.loads(json.dumps(as_json(type_url, body), sort_keys=True))
    return dict(_divided(f"{short_name(type_url)} {name}", resource))


def _divided(label: str, resource: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, word in (("filter_chains", "chain"), ("virtual_hosts", "host")):
        for index, part in enumerate(resource.pop(key, ())):
            yield f"{label} {word} {part.get('name') or index}", part
    yield label, resource


@cache
def base() -> Parts:
    return parts(mesh_of("", KEPT_PORTS))


def rendered(area: str) -> str:
    """Of each input what is new or other than in the base, and the names of what is no more."""
    shown = {}
    for name, text in inputs(area).items():
        found = parts(mesh_of(text, KEPT_PORTS))
        kept: Parts = {k: v for k, v in found.items() if base().get(k) != v}
        if gone := sorted(base().keys() - found.keys()):
            kept["gone"] = gone
        shown[name] = kept
    return yaml.dump(shown, Dumper=Dumper, sort_keys=True, width=100)


def golden(area: str) -> Path:
    return FOLDER / f"{area}.golden.yaml"


@pytest.mark.parametrize("area", AREAS)
def test_examples_become_what_is_kept(area: str) -> None:
    text = rendered(area)
    if os.environ.get("WEFT_UPDATE_GOLDEN") == "1":
        golden(area).write_text(text)
    assert text == golden(area).read_text()


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
