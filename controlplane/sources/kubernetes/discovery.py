"""What an API server serves: aggregated discovery (one document), or group by group without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.sources.kubernetes.answers import ApiError, Document, Resource, mapping
from controlplane.sources.kubernetes.client import Api

AGGREGATED = ",".join(
    (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    )
)
STREAMING_LISTS = (1, 32)
"""Where sendInitialEvents may be served; older servers would take it for a plain watch."""


async def served(api: Api, groups: frozenset[str]) -> list[Resource]:
    """Every resource of these groups. Raises what `Api` raises: then nothing is known."""
    found: list[Resource] = []
    for root in ("/api", "/apis"):
        document = await api.get(root, {}, AGGREGATED)
        if document.get("kind") == "APIGroupDiscoveryList":
            found += aggregated(document)
        else:
            for path in _paths(root, document, groups):
                found += await _listed(api, path)
    return [one for one in found if one.group in groups]


async def streams_lists(api: Api) -> bool:
    """Whether to ask for sendInitialEvents."""
    said = await api.get("/version", {}, "application/json")
    numbers = [str(said.get(name, "")).rstrip("+") for name in ("major", "minor")]
    if not all(number.isdigit() for number in numbers):
        return False
    return (int(numbers[0]), int(numbers[1])) >= STREAMING_LISTS


async def _listed(api: Api, path: str) -> list[Resource]:
    try:
        return list(resources(await api.get(path, {}, "application/json")))
    except ApiError as error:
        if error.status == 404:
            return []  # gone between the two questions
        raise


def aggregated(document: Document) -> Iterator[Resource]:
    """Of an APIGroupDiscoveryList (apidiscovery.k8s.io/v2)."""
    for item in _list(document.get("items")):
        group = str(mapping(item.get("metadata")).get("name") or "")
        for version in _list(item.get("versions")):
            for said in _list(version.get("resources")):
                kind = str(mapping(said.get("responseKind")).get("kind") or "")
                yield Resource(
                    group,
                    str(version.get("version") or ""),
                    str(said.get("resource") or ""),
                    kind,
                    said.get("scope") == "Namespaced",
                    frozenset(map(str, said.get("verbs") or ())),
                )


def resources(document: Document) -> Iterator[Resource]:
    """Of an APIResourceList; subresources are left out."""
    group, _, version = str(document.get("groupVersion") or "").rpartition("/")
    for said in _list(document.get("resources")):
        name = str(said.get("name") or "")
        if "/" not in name:
            yield Resource(
                group,
                version,
                name,
                str(said.get("kind") or ""),
                bool(said.get("namespaced")),
                frozenset(map(str, said.get("verbs") or ())),
            )


def _paths(root: str, document: Document, groups: frozenset[str]) -> Iterator[str]:
    """Of APIVersions (the core's) or an APIGroupList."""
    for version in document.get("versions") or ():
        if isinstance(version, str):
            yield f"{root}/{version}"
    for group in _list(document.get("groups")):
        if group.get("name") in groups:
            for version in _list(group.get("versions")):
                yield f"{root}/{version.get('groupVersion')}"


def _list(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
