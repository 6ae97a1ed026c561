"""Objects of a manifest one by one, as text that reads as the same: for what is kept on disk.

Pure. It knows a kind and a name, and nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.registry import class_of
from controlplane.kinds.yaml_nodes import Mapping, Node, Scalar, Sequence, compose_all


def objects_of(manifest: str) -> Iterator[tuple[ObjectKey, Mapping]]:
    """Each object that says what it is, those of a List one by one. The text must be YAML."""
    for document in compose_all(manifest):
        yield from objects_in(document)


def objects_in(node: Node) -> Iterator[tuple[ObjectKey, Mapping]]:
    """Those of one document."""
    if not isinstance(node, Mapping):
        return
    items = node.get("items")
    if _text(node, "kind") == "List" and isinstance(items, Sequence):
        for item in items.items:
            yield from objects_in(item)
        return
    metadata = node.get("metadata")
    if isinstance(metadata, Mapping):
        namespace = _text(metadata, "namespace") or "default"
        kind = _text(node, "kind")
        key = ObjectKey(kind, namespace, _text(metadata, "name"))
        cls = class_of(_text(node, "apiVersion"), kind, key)
        yield key._replace(kind=(cls and cls.KIND) or kind), node


def _text(node: Mapping, key: str) -> str:
    value = node.get(key)
    return value.value if isinstance(value, Scalar) else ""


def flow(node: Node) -> str:
    """YAML in flow style that reads as the same node: scalars keep their text, strings quoted."""
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(value)}" for key, value in node.entries) + "}"
    if isinstance(node, Sequence):
        return "[" + ", ".join(map(flow, node.items)) + "]"
    if node.kind == "string":
        return '"' + "".join(map(_quoted, node.value)) + '"'
    return "null" if node.kind == "null" else node.value


def _quoted(character: str) -> str:
    plain = " " <= character <= "~" and character not in '"\\'
    return character if plain else f"\\U{ord(character):08x}"
