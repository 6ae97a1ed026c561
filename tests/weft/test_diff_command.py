"""`weft diff`: the text of what is in force against that of manifests."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from weft.cli import weft
from weft.management import Management
from weft.state import StateDir
from weft.view import StoredFacts

ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: till}
spec: {hosts: [till]}
"""
HELD = (
    '{"kind": "VirtualService", "apiVersion": "networking.istio.io/v1", '
    '"spec": {"hosts": ["%s"]}, "metadata": {"name": "till"}}'
)


class Holding:
    """A control plane that holds some objects."""

    def __init__(self, *held: StoredFacts) -> None:
        self.held = held
        self.words: list[str] = []

    async def list_objects(
        self, kind: str, namespace: str, name: str, labels: object, *, manifests: bool = False
    ) -> list[StoredFacts]:
        self.words.append(kind)
        return [one for one in self.held if (one.namespace, one.name) == (namespace, name)]

    async def close(self) -> None:
        return


def stored(manifest: str, source: str = "api") -> StoredFacts:
    return StoredFacts("VirtualService", "default", "till", source, "r.yaml:1:1", manifest, ())


def run(monkeypatch: pytest.MonkeyPatch, there: Holding, text: str) -> Result:
    def of(state: StateDir) -> Holding:
        return there

    monkeypatch.setattr(Management, "of", of)
    return CliRunner().invoke(weft, ["diff", "-f", "-"], input=text)


def test_the_same_text_in_another_order_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Holding(stored(HELD % "till"))
    found = run(monkeypatch, there, ROUTE)
    assert (found.exit_code, found.stdout) == (0, "")
    assert there.words == ["VirtualService.networking.istio.io"]


def test_a_difference_is_shown_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Holding(stored(HELD % "tall")), ROUTE)
    lines = found.stdout.splitlines()
    assert found.exit_code == 1
    assert lines[0] == "--- VirtualService default/till (r.yaml:1:1)"
    assert [one for one in lines[2:] if one[0] in "+-"] == ["-  - tall", "+  - till"]


def test_a_new_object_is_all_new(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Holding(), ROUTE)
    lines = found.stdout.splitlines()
    assert (found.exit_code, lines[0]) == (1, "--- /dev/null")
    assert all(one.startswith("+") for one in lines[3:])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: [\n", "stdin:2:1: not YAML"),
        ("kind: Service", "an object needs apiVersion, kind and metadata.name"),
        ("- 1", "an object needs apiVersion, kind and metadata.name"),
    ],
)
def test_what_can_not_be_compared_is_2(
    monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    found = run(monkeypatch, Holding(), text)
    assert found.exit_code == 2
    assert why in found.stderr


def test_a_text_that_is_not_told_is_2(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Holding(stored("", "kubernetes")), ROUTE)
    assert found.exit_code == 2
    assert "in kubernetes at r.yaml:1:1, and its text is not told" in found.stderr


def test_a_control_plane_that_is_not_there_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(weft, ["diff", "-f", "-"], input=ROUTE)
    assert found.exit_code == 2
    assert "start a mesh with weft up DIR" in found.stderr
