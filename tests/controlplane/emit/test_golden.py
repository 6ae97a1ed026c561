"""What each mesh becomes on the wire, kept as files; `WEFT_UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.emit.envoy import emit
from controlplane.resources import assemble
from controlplane.snapshot import check
from tests.support.emit_cases import CASES
from tests.support.golden import hold, read_by_weft, resources_of
from tests.support.mesh import node, unmetered

GOLDEN = Path(__file__).parent / "golden"
NODE = node(labels={"app": "me"}, weft_agent=True)


def rendered(name: str) -> str:
    draft = emit(unmetered(CASES[name]()), NODE)
    assert check(draft) == ()
    return resources_of(assemble(draft.encode()))


@pytest.mark.parametrize("name", CASES)
def test_emission_is_as_kept(name: str) -> None:
    hold(GOLDEN / f"{name}.yaml", rendered(name))


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_same_mesh_gives_the_same_bytes(name: str) -> None:
    first = assemble(emit(CASES[name](), NODE).encode())
    again = assemble(emit(CASES[name](), NODE).encode())
    assert first.version == again.version


@pytest.mark.parametrize("name", CASES)
def test_weft_reads_what_we_emit(name: str) -> None:
    """Nothing is refused, as Envoy refuses nothing (test_judge_envoy)."""
    read_by_weft(emit(CASES[name](), NODE))
