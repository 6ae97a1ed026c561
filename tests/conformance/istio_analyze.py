"""Istio's analyzers: of each case the set of (code, resource) that one analyzer finds.

A case names its MeshConfig as a file that is not among the cases; what those hold is said by the
case's name, and is given here (`_MESH`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controlplane.analyze.analyzers import ANALYZERS
from controlplane.analyze.items import Item, Items
from controlplane.kinds.yaml_nodes import Node, compose_all
from tests.conformance.suite import Result

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_CAPTURED = """
defaultConfig:
  proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_AUTO_ALLOCATE: "true"}
"""
_MESH = {
    "testdata/serviceentry-missing-addresses-protocol-mesh-cfg.yaml": ("mesh", _CAPTURED),
    "testdata/serviceentry-address-allocated-mesh-cfg.yaml": ("mesh", ""),
}


def run(cases: Path) -> Iterator[Result]:
    seen: dict[str, int] = {}
    for case in json.loads((cases / "expected.shared.json").read_text("utf-8"))["cases"]:
        name = f"{case['analyzer']}/{case['name']}"
        seen[name] = seen.get(name, 0) + 1
        number = f" {seen[name]}" if seen[name] > 1 else ""
        yield Result(name + number, _difference(cases, case))


def _difference(cases: Path, case: dict[str, Any]) -> str:
    if case["meshNetworksFile"]:
        return f"the case names {case['meshNetworksFile']}, which is not among the cases"
    items = Items(_documents(cases, case), NOW)
    found = {(one.code, _resource(one.item)) for one in ANALYZERS[case["analyzer"]](items)}
    expected = {(one["code"], one["resource"]) for one in case["expected"]}
    if found == expected:
        return ""
    return f"too many: {sorted(found - expected)}; missing: {sorted(expected - found)}"


def _documents(cases: Path, case: dict[str, Any]) -> dict[str, list[Node]]:
    texts = {name: (cases / name).read_text("utf-8") for name in case["inputFiles"]}
    if case["meshConfigFile"]:
        key, value = _MESH[case["meshConfigFile"]]
        metadata = {"name": "istio", "namespace": "istio-system"}
        held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {key: value}}
        texts["mesh"] = json.dumps(held)
    return {name: list(compose_all(text)) for name, text in texts.items()}


def _resource(item: Item) -> str:
    """As Istio names it: without the namespace where none is written."""
    return f"{item.kind} {item.written}/{item.name}" if item.written else f"{item.kind} {item.name}"
