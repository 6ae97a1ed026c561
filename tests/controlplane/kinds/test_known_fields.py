"""The schema beside Istio's own: every field of its CRDs is supported, or refused by its name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from controlplane.kinds.parse import parse
from controlplane.kinds.registry import KINDS
from controlplane.kinds.schema import Record, plan_of
from tests.support.cases import case_folder

KINDS_OF_ISTIO = [
    "VirtualService",
    "DestinationRule",
    "ServiceEntry",
    "WorkloadEntry",
    "WorkloadGroup",
    "Sidecar",
    "ProxyConfig",
    "Telemetry",
    "EnvoyFilter",
    "PeerAuthentication",
]


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """Kind -> its CustomResourceDefinition's spec."""
    path = case_folder("istio-api-protos") / "kubernetes" / "customresourcedefinitions.gen.yaml"
    documents = yaml.load_all(path.read_text("utf-8"), Loader=yaml.CSafeLoader)
    return {d["spec"]["names"]["kind"]: d["spec"] for d in documents if d}


def paths(schema: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field of an OpenAPI schema; '0' for an item, 'key' for an entry of a map."""
    for name, child in schema.get("properties", {}).items():
        yield (*at, name)
        yield from paths(child, (*at, name))
    if isinstance(items := schema.get("items"), dict):
        yield from paths(items, (*at, "0"))
    if isinstance(values := schema.get("additionalProperties"), dict):
        yield from paths(values, (*at, "key"))


def manifest(kind: str, path: tuple[str, ...]) -> str:
    """A document with nothing but that field."""
    value: Any = {}
    for name in reversed(path):
        value = [value] if name == "0" else {name: value}
    version = next(version for version, name in KINDS if name == kind and "istio.io" in version)
    document = {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}
    return yaml.safe_dump(document | {"spec": value})


@pytest.mark.parametrize("kind", KINDS_OF_ISTIO)
def test_every_field_of_istio_is_known(kind: str) -> None:
    spec = definitions()[kind]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    every = list(paths(spec))
    assert len(every) > 5
    unknown = [
        f"{'.'.join(path)}: {status.message}"
        for path in every
        for status in parse(manifest(kind, path), "crd").statuses
        if status.code in ("UnknownField", "UnknownKind")
    ]
    assert not unknown, "\n".join(unknown)


@pytest.mark.parametrize("kind", KINDS_OF_ISTIO)
def test_every_version_of_istio_is_known(kind: str) -> None:
    spec = definitions()[kind]
    versions = {f"{spec['group']}/{version['name']}" for version in spec["versions"]}
    known = {version for version, name in KINDS if name == kind}
    assert known == versions


def records(cls: type[Record] = Record) -> Iterator[type[Record]]:
    for below in cls.__subclasses__():
        yield below
        yield from records(below)


def test_no_field_is_both_decoded_and_refused_or_ignored() -> None:
    seen = list(records())
    assert len(seen) > 40
    for cls in seen:
        groups = [set(plan_of(cls).fields), cls.UNSUPPORTED, cls.IGNORED, set(cls.NOTED)]
        total = sum(len(group) for group in groups)
        assert total == len(plan_of(cls).known), cls.__name__
