"""Golden files: manifests in, mesh and statuses out. WEFT_UPDATE_GOLDEN=1 writes them anew.

The output leaves out what has its default value, so that a file shows what its input decides.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.inventory import API, Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.model import NOWHERE, Mesh, Position, Status
from controlplane.mesh.policy import Security
from controlplane.translate import build

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))


def plain(value: Any) -> Any:
    """A model as YAML shows it: fields that have their default are left out."""
    if isinstance(value, Position):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init and getattr(value, field.name) != default_of(field)
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def translate(case: str) -> tuple[Mesh, tuple[Status, ...]]:
    source = f"{case}.in.yaml"
    parsed = parse((GOLDEN / source).read_text("utf-8"), source)
    inventory = Inventory()
    inventory.replace(Origin.file(source), parsed.objects, parsed.statuses)
    return build(inventory.snapshot(), "cluster.local")


def shown(mesh: Mesh, statuses: tuple[Status, ...]) -> str:
    document = {
        "services": plain(mesh.services),
        "workloads": plain(mesh.workloads),
        **({"pods": plain(tuple(mesh.pods))} if tuple(mesh.pods) else {}),
        **({"patches": plain(mesh.patches)} if mesh.patches else {}),
        **({"logs": plain(mesh.logs)} if mesh.logs else {}),
        **({"metrics": plain(mesh.metrics)} if mesh.metrics else {}),
        **({"traces": plain(mesh.traces)} if mesh.traces else {}),
        **({"imports": plain(mesh.imports)} if mesh.imports else {}),
        **({"security": plain(mesh.security)} if mesh.security != Security() else {}),
        **({"gateways": plain(mesh.gateways)} if mesh.gateways else {}),
        **({"conditions": told(mesh)} if mesh.conditions else {}),
        "statuses": [f"{status.code}: {status}" for status in statuses],
    }
    return yaml.safe_dump(document, sort_keys=False, width=100, allow_unicode=True)


def told(mesh: Mesh) -> dict[str, list[str]]:
    """Conditions in short: 'http Accepted=True NoConflicts'."""
    return {
        f"{one.kind} {one.namespace}/{one.name}": [
            *(f"at {address}" for address in one.addresses or ()),
            *(f"{c.type}={c.status} {c.reason}" for c in one.conditions),
            *(
                f"{listener.name} ({listener.attached_routes}) {c.type}={c.status} {c.reason}"
                for listener in one.listeners
                for c in listener.conditions
            ),
            *(
                f"{parent.parent.name} {c.type}={c.status} {c.reason}"
                for parent in one.parents
                for c in parent.conditions
            ),
        ]
        for one in mesh.conditions
    }


@pytest.mark.parametrize("case", CASES)
def test_translation_gives_the_golden_file(case: str) -> None:
    found = shown(*translate(case))
    path = GOLDEN / f"{case}.out.yaml"
    if os.environ.get("WEFT_UPDATE_GOLDEN") == "1":
        path.write_text(found, "utf-8")
    assert found == path.read_text("utf-8")


@pytest.mark.parametrize("case", CASES)
def test_no_file_is_left_without_its_input(case: str) -> None:
    outs = {path.name.removesuffix(".out.yaml") for path in GOLDEN.glob("*.out.yaml")}
    assert outs == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_order_of_arrival_does_not_matter(case: str) -> None:
    source = f"{case}.in.yaml"
    parsed = parse((GOLDEN / source).read_text("utf-8"), source)
    wanted = shown(*translate(case))
    for seed in range(5):
        inventory = Inventory()
        objects = list(parsed.objects)
        random.Random(seed).shuffle(objects)
        for item in objects:
            inventory.put(item, API)
        inventory.replace(Origin.file(source), (), parsed.statuses)
        assert shown(*build(inventory.snapshot(), "cluster.local")) == wanted


@pytest.mark.parametrize("case", CASES)
def test_every_rule_and_status_points_into_the_text(case: str) -> None:
    mesh, statuses = translate(case)
    lines = (GOLDEN / f"{case}.in.yaml").read_text("utf-8").splitlines()
    positions = [status.position for status in statuses]
    positions += [service.position for service in mesh.services]
    positions += [workload.position for workload in mesh.workloads]
    made = [rule for service in mesh.services for rule in service.rules]
    positions += [rule.position for rule in made if rule.position != NOWHERE]
    assert positions
    for position in positions:
        assert position.source == f"{case}.in.yaml"
        assert lines[position.line - 1][position.column - 1] not in " #:"
