"""Istio's ProxyConfig from all the places where it may stand.

Istio's precedence: a ProxyConfig that selects the workload, the annotation of its template, the
ProxyConfig of its namespace, that of the root namespace, the MeshConfig's defaultConfig. A place
adds to what the ones behind it say, field by field. As in Istio it counts when a sidecar starts.

Pure: documents in, `ProxyConfig`s out. What is wrong in a MeshConfig or ProxyConfig the control
plane tells; here it is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from weft.manifest import Field
from weft.proxy_config import PLAIN, ProxyConfig

ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class _Scoped:
    """A ProxyConfig: whose it is, and what it says in the words of defaultConfig."""

    namespace: str
    labels: Mapping[str, str]
    says: Mapping[str, Any]
    created: str


class ProxyConfigs:
    """Those of a directory."""

    def __init__(self, documents: Iterable[Field]) -> None:
        self._default: Mapping[str, Any] = {}
        self._scoped: list[_Scoped] = []
        for document in documents:
            if _is_mesh_config(document):
                self._default = _default_of(document)
            elif document.get("kind").text("") == "ProxyConfig":
                self._scoped.append(_scoped(document))

    def of(self, namespace: str, labels: Mapping[str, str], annotation: str) -> ProxyConfig:
        """annotation: what its template says, '' for nothing."""
        levels = [
            self._default,
            self._of_namespace(ROOT_NAMESPACE),
            self._of_namespace(namespace) if namespace != ROOT_NAMESPACE else {},
            _mapping(annotation),
            self._of_workload(namespace, labels),
        ]
        return _made(levels)

    def _of_namespace(self, namespace: str) -> Mapping[str, Any]:
        found = [one for one in self._scoped if one.namespace == namespace and not one.labels]
        return _oldest(found)

    def _of_workload(self, namespace: str, labels: Mapping[str, str]) -> Mapping[str, Any]:
        mine = (one for one in self._scoped if one.namespace == namespace and one.labels)
        return _oldest([one for one in mine if one.labels.items() <= labels.items()])


def _oldest(found: list[_Scoped]) -> Mapping[str, Any]:
    return min(found, key=lambda one: one.created).says if found else {}


def _made(levels: Iterable[Mapping[str, Any]]) -> ProxyConfig:
    merged: dict[str, Any] = {}
    for level in levels:
        merged = _merged(merged, level)
    if not merged:
        return PLAIN
    return ProxyConfig(
        variables=_texts(merged.get("proxyMetadata")),
        runtime=_texts(merged.get("runtimeValues")),
        holds=merged.get("holdApplicationUntilProxyStarts") is True,
        said=json.dumps(merged, sort_keys=True, default=str),
    )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Field by field, into what has fields itself."""
    found = dict(below)
    for name, value in above.items():
        old = found.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        found[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return found


def _texts(value: object) -> dict[str, str]:
    """A mapping of texts, as YAML's numbers and booleans are written."""
    if not isinstance(value, Mapping):
        return {}
    return {
        str(name): item if isinstance(item, str) else json.dumps(item, default=str)
        for name, item in value.items()
    }


# --------------------------------------------------------------------------- where it stands


def _is_mesh_config(document: Field) -> bool:
    metadata = document.get("metadata")
    names = metadata.get("namespace").text(""), metadata.get("name").text("")
    is_map = document.get("kind").text("") == "ConfigMap"
    return is_map and names == (ROOT_NAMESPACE, "istio")


def _default_of(document: Field) -> Mapping[str, Any]:
    found = _mapping(document.get("data", "mesh").text("")).get("defaultConfig")
    return found if isinstance(found, Mapping) else {}


def _scoped(document: Field) -> _Scoped:
    metadata, spec = document.get("metadata"), document.get("spec")
    variables = spec.get("environmentVariables").strings()
    return _Scoped(
        metadata.get("namespace").text("default"),
        spec.get("selector", "matchLabels").strings(),
        {"proxyMetadata": dict(variables)} if variables else {},
        metadata.get("creationTimestamp").text(""),
    )


def _mapping(text: str) -> Mapping[str, Any]:
    """YAML in a text; nothing where it is no mapping."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
