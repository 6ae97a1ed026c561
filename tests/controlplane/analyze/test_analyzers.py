"""What analyzers find stands in cases/*.yaml, as `# ISTnnnn` at the line where it is found."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.analyze import analyze
from controlplane.analyze.analyzers import findings
from controlplane.analyze.catalogue import CODES
from controlplane.analyze.items import Items
from controlplane.kinds.parse import parse
from controlplane.kinds.yaml_nodes import compose_all

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: till}
spec:
  hosts: [till]
  http:
  - route: [{destination: {host: tall}}]
"""


def marked(text: str) -> set[tuple[str, int]]:
    lines = enumerate(text.splitlines(), 1)
    return {(code, at) for at, line in lines for code in re.findall(r"IST\d{4}", _comment(line))}


def _comment(line: str) -> str:
    return line.partition(" # ")[2]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_findings_are_where_they_are_marked(path: Path) -> None:
    text = path.read_text("utf-8")
    found = list(findings(Items({path.name: list(compose_all(text))}, NOW)))
    assert {(one.code, one.position.line) for one in found} == marked(text)
    for one in found:
        assert one.position.column > 0 or one.position.line, one
        assert one.message and one.message[0] != " "


def test_every_code_is_found_somewhere() -> None:
    assert {code for path in CASES for code, _ in marked(path.read_text("utf-8"))} == set(CODES)


def test_every_code_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text("utf-8")
    for code, kind in CODES.items():
        assert f"| {code} {kind.name} | {kind.severity} |" in page


def test_what_translation_says_of_the_same_place_is_said_once_with_istios_code() -> None:
    """The words are translation's, which knows what becomes of the requests."""
    found = analyze({"a.yaml": parse(ROUTE, "a.yaml")}, "cluster.local", NOW).statuses
    (status,) = [one for one in found if one.position.line == 7]
    assert status.code == "UnknownService"
    assert status.message.endswith("(IST0101 ReferencedResourceNotFound)")


def test_objects_that_decoders_refuse_are_analyzed_too() -> None:
    text = ROUTE + "    retries: {attempts: many}\n---\n" + ROUTE.replace("till}", "again}")
    found = analyze({"a.yaml": parse(text, "a.yaml")}, "cluster.local", NOW).statuses
    codes = {one.code.partition(" ")[0] for one in found}
    assert {"InvalidField", "IST0109"} <= codes


def test_lists_and_several_files_are_one_mesh() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: tall}\nspec: {ports: [{port: 80}]}"
    items = "\n".join(f"  {line}" for line in service.splitlines())
    held = f"apiVersion: v1\nkind: List\nitems:\n- {items.strip()}\n"
    nodes = {"a.yaml": list(compose_all(ROUTE)), "b.yaml": list(compose_all(held))}
    assert [one.code for one in findings(Items(nodes, NOW))] == ["IST0118"]
