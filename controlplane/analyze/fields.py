"""Looking into a manifest's nodes without a schema: what is not there is an empty field.

Analyzers read kinds that the mesh does not know, and objects that their decoders refuse, so they
ask of the text only what they need. Knows no kind.

    for route in item.spec["http"].items: route["route"][0]["destination"]["host"].text
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.kinds.yaml_nodes import Mapping as MappingNode
from controlplane.kinds.yaml_nodes import Node, Scalar, Sequence, is_true
from controlplane.mesh.position import Position
from protos.frozen import frozen

_DIGITS = 20


@frozen
class Field:
    """node None: nothing stands there. near: the place of the closest thing around it."""

    source: str
    node: Node | None
    near: Position

    @classmethod
    def of(cls, source: str, node: Node) -> Field:
        return cls(source, node, Position(source, node.line, node.column, node.path))

    def __getitem__(self, key: str | int) -> Field:
        found = self._inside(key)
        if found is None:
            return Field(self.source, None, self.position)
        return Field.of(self.source, found)

    def __bool__(self) -> bool:
        """Something stands there that is not null."""
        return self.node is not None and not (
            isinstance(self.node, Scalar) and self.node.kind == "null"
        )

    @property
    def position(self) -> Position:
        return self.near

    @property
    def text(self) -> str:
        """'' for anything that is no scalar."""
        return self.node.value if isinstance(self.node, Scalar) and self else ""

    @property
    def number(self) -> int | None:
        text = self.text
        return int(text) if text.isdecimal() and len(text) < _DIGITS else None

    @property
    def true(self) -> bool:
        return isinstance(self.node, Scalar) and self.node.kind == "boolean" and is_true(self.node)

    @property
    def items(self) -> list[Field]:
        found = self.node.items if isinstance(self.node, Sequence) else ()
        return [Field.of(self.source, item) for item in found]

    @property
    def texts(self) -> list[str]:
        return [item.text for item in self.items if item.text]

    @property
    def pairs(self) -> Iterator[tuple[str, Field]]:
        if isinstance(self.node, MappingNode):
            for key, value in self.node.entries:
                yield key.value, Field.of(self.source, value)

    @property
    def labels(self) -> Mapping[str, str]:
        """A mapping of texts."""
        return {key: value.text for key, value in self.pairs if isinstance(value.node, Scalar)}

    def _inside(self, key: str | int) -> Node | None:
        if isinstance(self.node, MappingNode) and isinstance(key, str):
            return self.node.get(key)
        if isinstance(self.node, Sequence) and isinstance(key, int):
            return self.node.items[key] if key < len(self.node.items) else None
        return None
