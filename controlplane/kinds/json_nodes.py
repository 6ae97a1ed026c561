"""An object of an API, as JSON was read -> nodes that remember their field's path. Knows no schema.

There is no line to point at, so a node's place is what `kubectl explain` takes: spec.http[0].route.
"""

from __future__ import annotations

from controlplane.kinds.yaml_nodes import (
    MAX_DEPTH,
    MAX_NODES,
    Mapping,
    Node,
    Scalar,
    Sequence,
    YamlError,
)


def compose_value(value: object) -> Node:
    """`value`: dicts with string keys, lists, strings, numbers, booleans and None. YamlError: it is
    deeper or larger than a manifest may be."""
    node = _node(value, "", 0)
    if node.size > MAX_NODES:
        raise YamlError(f"more than {MAX_NODES} nodes")
    return node


def _node(value: object, path: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise YamlError(f"nested deeper than {MAX_DEPTH} levels at {path}")
    if isinstance(value, dict):
        return _mapping(value, path, depth)
    if isinstance(value, list):
        items = tuple(_node(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
        return Sequence(items, 0, 0, 1 + sum(item.size for item in items), path)
    return _scalar(value, path)


def _mapping(value: dict[str, object], path: str, depth: int) -> Mapping:
    entries = []
    size = 1
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        node = _node(item, below, depth + 1)
        entries.append((Scalar(key, "string", 0, 0, 1, below), node))
        size += 1 + node.size
    return Mapping(tuple(entries), 0, 0, size, path)


def _scalar(value: object, path: str) -> Scalar:
    if value is None:
        return Scalar("null", "null", 0, 0, 1, path)
    if isinstance(value, bool):
        return Scalar("true" if value else "false", "boolean", 0, 0, 1, path)
    if isinstance(value, int):
        return Scalar(str(value), "integer", 0, 0, 1, path)
    if isinstance(value, float):
        return Scalar(repr(value), "number", 0, 0, 1, path)
    return Scalar(str(value), "string", 0, 0, 1, path)
