"""Whatever is wrong with an object: it is taken whole or refused with its place, nothing breaks,
and all others keep their effect. What is taken a real Envoy takes, too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import yaml

from controlplane.analyze.analyzers import findings
from controlplane.analyze.items import Items
from controlplane.emit.envoy import emit
from controlplane.emit.patch_values import faults
from controlplane.inventory import Snapshot
from controlplane.kinds.json_nodes import compose_value
from controlplane.kinds.parse import Parsed, parse, parse_value
from controlplane.mesh.model import Mesh
from controlplane.snapshot import check
from controlplane.translate import build
from tests.support.damage import Damaged, damaged
from tests.support.documented import free_ports
from tests.support.golden import read_by_weft
from tests.support.judge import judging
from tests.support.mesh import TRUST_DOMAIN, node

NODE = node(labels={"app": "me", "version": "v1"}, weft_agent=True)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OF_THIS_MACHINE = ("cannot bind", "Invalid path", "Address already in use")
"""What Envoy refuses for what it finds here: ports that are taken, files that are not there."""


def read(one: Damaged) -> list[Parsed]:
    """Each object as an API brings it."""
    return [parse_value(tree, f"api:{index}") for index, tree in enumerate(one.objects)]


def mesh_of(parsed: list[Parsed]) -> Mesh:
    objects = [item for one in parsed for item in one.objects]
    statuses = tuple(status for one in parsed for status in one.statuses)
    return build(Snapshot(objects, statuses), TRUST_DOMAIN)[0]


def told_and_whole(one: Damaged, parsed: Parsed) -> None:
    """Refused with a place and a reason, or taken: never both, and never neither."""
    errors = [status for status in parsed.statuses if status.severity == "error"]
    said = any(status.code == "NoEffect" for status in parsed.statuses)
    assert bool(errors) != bool(parsed.objects or said), (one.name, errors)
    for error in errors:
        assert error.message and error.position.source == f"api:{one.place}", (one.name, error)


def told_in_a_file(one: Damaged) -> None:
    """As YAML it is refused, too, with line and column."""
    text = yaml.dump(one.objects[one.place], Dumper=yaml.CSafeDumper, sort_keys=False)
    parsed = parse(text, "a.yaml")
    errors = [status for status in parsed.statuses if status.severity == "error"]
    assert errors, one.name
    lines = text.count("\n") + 1
    for error in errors:
        assert 1 <= error.position.line <= lines and error.position.column >= 1, (one.name, error)


def holds_together(one: Damaged, mesh: Mesh) -> None:
    list(faults(mesh.patches))
    draft = emit(mesh, NODE)
    assert check(draft) == (), one.name
    read_by_weft(draft)


def of_damaged(seeds: range) -> Iterator[tuple[Damaged, list[Parsed]]]:
    for seed in seeds:
        one = damaged(seed)
        yield one, read(one)


def test_a_damaged_object_is_taken_or_refused_and_others_keep_their_effect() -> None:
    refused = 0
    for one, parsed in of_damaged(range(100)):
        told_and_whole(one, parsed[one.place])
        items = Items({"api": [compose_value(tree) for tree in one.objects]}, NOW)
        assert all(finding.message for finding in findings(items))
        if parsed[one.place].objects:
            holds_together(one, mesh_of(parsed))
            continue
        refused += 1
        told_in_a_file(one)
        others = parsed[: one.place] + parsed[one.place + 1 :]
        if refused % 10 == 0:
            assert mesh_of(parsed) == mesh_of(others), one.name
    assert 20 < refused < 90, "the damage is to be of both kinds"


async def test_envoy_takes_what_is_taken_of_damaged_objects(tmp_path: Path) -> None:
    ports = tuple(free_ports().items())
    objections = {}
    async with judging(tmp_path, delta=True) as judge:
        for seed in range(1000, 1120):
            one = damaged(seed, ports)
            parsed = read(one)
            if not parsed[one.place].objects:
                continue
            found = await judge.judge(mesh_of(parsed))
            why = [text for each in found.values() for text in each.values()]
            if any(not is_of_this_machine(text) for text in why):
                objections[one.name] = found
    assert objections == {}


def is_of_this_machine(text: str) -> bool:
    return any(words in text for words in OF_THIS_MACHINE)
