"""The MeshConfig and MeshNetworks that the manifests have, as text inside of a ConfigMap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.analyze.fields import Field
from controlplane.analyze.items import Item, Items
from controlplane.analyze.population import SYSTEM
from controlplane.kinds.yaml_nodes import Node, YamlError, compose_all
from controlplane.mesh.position import Position

_NAME = "istio"
_NOTHING = Position("-")


def mesh_config(items: Items) -> Field:
    """Empty where there is none."""
    return embedded(items.find("ConfigMap", SYSTEM, _NAME), "mesh")


def proxy_metadata(items: Items) -> Mapping[str, str]:
    """What every proxy is told unless it says otherwise."""
    return mesh_config(items)["defaultConfig"]["proxyMetadata"].labels


def mesh_networks(items: Items) -> Iterator[tuple[Item, Field]]:
    """With whose text it is."""
    item = items.find("ConfigMap", SYSTEM, _NAME)
    if item is not None:
        yield item, embedded(item, "meshNetworks")


def embedded(item: Item | None, key: str) -> Field:
    """The YAML (or JSON) of one value of a ConfigMap, empty where there is none. All of it has the
    place of the value, as where a block's lines begin is not known."""
    if item is None:
        return Field("-", None, _NOTHING)
    held = item.body["data"][key]
    return Field(held.source, _parsed(held.text), held.position)


def _parsed(text: str) -> Node | None:
    try:
        return next(compose_all(text), None)
    except YamlError:
        return None
