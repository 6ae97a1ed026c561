"""`weft check`: what it prints, its exit codes, and that it says what a control plane would."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controlplane.analyze import analyze
from controlplane.emit import envoy
from controlplane.emit.envoy import Beside
from controlplane.emit.node import Node
from controlplane.kinds.parse import parse
from controlplane.snapshot import Draft
from weft.cli import weft

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TILL = """\
apiVersion: v1
kind: Service
metadata: {name: till}
spec: {selector: {app: till}, ports: [{port: 80, name: http}]}
"""
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: till}
spec:
  hosts: [till]
  http:
  - route: [{destination: {host: tall}}]
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: nobody}
spec: {host: nobody}
"""


def check(*words: str, text: str | bytes = "") -> Result:
    return CliRunner().invoke(weft, ["check", *words], input=text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "a.yaml").write_text(TILL)
    return tmp_path / "mesh"


def test_a_clean_mesh_is_0_and_says_how_much_was_read() -> None:
    found = check(str(ROOT / "examples" / "postcard"))
    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr == "no problems in 10 objects of 3 files\n"


def test_an_error_is_a_line_with_its_place_and_1(folder: Path) -> None:
    (folder / "b.yaml").write_text(ROUTE)
    found = check("mesh")
    (line,) = found.stdout.splitlines()
    assert line.startswith("mesh/b.yaml:7:")
    assert ": error: " in line
    assert line.endswith("[UnknownService] (VirtualService default/till)")
    assert found.exit_code == 1


def test_a_warning_is_0_and_with_strict_1_even_if_it_is_not_shown(folder: Path) -> None:
    (folder / "b.yaml").write_text(RULE)
    lenient, strict = check("mesh"), check("mesh", "--strict", "--severity", "error")
    assert "[SelectsNothing] (DestinationRule default/nobody)" in lenient.stdout
    assert (lenient.exit_code, strict.exit_code, strict.stdout) == (0, 1, "")
    assert "1 warning" in strict.stderr
    assert "--severity warning" in strict.stderr


def test_all_that_is_named_is_one_mesh(folder: Path) -> None:
    route = folder.parent / "route.txt"
    route.write_text(ROUTE.replace("tall", "till"))
    assert check("route.txt").exit_code == 1
    assert check("mesh", "route.txt").exit_code == 0
    assert check("mesh/a.yaml", "-", text=route.read_text()).exit_code == 0


def test_json_has_every_fact_of_a_status(folder: Path) -> None:
    found = check("-", "-o", "json", text=ROUTE)
    told = json.loads(found.stdout)
    assert (told["files"], told["objects"], found.exit_code) == (1, 1, 1)
    assert {one["code"] for one in told["statuses"]} >= {"UnknownService"}
    (unknown,) = [one for one in told["statuses"] if one["code"] == "UnknownService"]
    assert unknown["file"] == "stdin"
    assert (unknown["line"], unknown["severity"]) == (7, "error")
    assert unknown["object"] == "VirtualService default/till"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kind: [x\n y", "stdin:3:1: error: "),
        (b"a: \xff", "stdin:1:4: error: the file is not UTF-8"),
        ("kind: Servise\napiVersion: v1\nmetadata: {name: a}", "did you mean 'Service'?"),
    ],
)
def test_a_broken_text_is_an_error_with_its_place(text: str | bytes, place: str) -> None:
    found = check("-", text=text)
    assert place in found.stdout
    assert found.exit_code == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "empty has no manifests: none of *.yaml, *.yml, *.json"),
        (["-"], "standard input is empty"),
        ([], "Missing argument"),
    ],
)
def test_nothing_to_check_is_2(folder: Path, words: list[str], why: str) -> None:
    (folder.parent / "empty").mkdir()
    found = check(*words)
    assert (found.exit_code, found.stdout) == (2, "")
    assert why in found.stderr


def test_what_does_not_hold_together_on_the_wire_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Emission without what others refer to: our own mistake, which no proxy must get to see."""
    manifests = {"a.yaml": parse(TILL, "a.yaml")}
    assert analyze(manifests, "td", NOW).statuses == ()
    outbound = envoy.outbound
    monkeypatch.setattr(envoy, "outbound", lambda *of: replace(outbound(*of), routes=()))
    (found,) = analyze(manifests, "td", NOW).statuses
    assert (found.code, found.object) == ("Emission", "Namespace default")
    assert "names route configuration" in found.message


def test_what_cannot_be_emitted_for_one_is_told_and_others_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = TILL.replace("name: till", "name: till, namespace: other")
    manifests = {"a.yaml": parse(f"{TILL}---\n{other}", "a.yaml")}
    seen: list[str] = []

    def sidecar(of: Beside, node: Node) -> Draft:
        seen.append(node.namespace)
        raise RuntimeError("it burns")

    monkeypatch.setattr(envoy, "sidecar", sidecar)
    found = analyze(manifests, "td", NOW).statuses
    assert sorted(seen) == ["default", "other"]
    assert ["it burns" in one.message for one in found] == [True, True]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_who_waits_at_a_terminal_sees_what_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(SystemExit) as ended:
        weft.main(["check", str(folder)])
    shown = terminal.getvalue()
    assert ended.value.code == 0
    assert f"weft: reading {folder} ..." in shown and "weft: checking 1 files ..." in shown
    assert shown.split("\x1b[K")[-1] == "no problems in 1 object of 1 file\n"
