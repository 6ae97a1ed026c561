"""YAML text -> nodes that remember line and column. Knows no schema.

Composed from PyYAML's events, not with its compose(): libyaml's composer recurses without a bound
and a page of '[' ends the process. Here depth, size and the number of nodes after aliases are
expanded are bounded, duplicate keys are refused, and merge keys ('<<') are resolved. Plain scalars
get the types that Kubernetes' YAML reader gives them. Lines and columns count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import yaml

MAX_CHARACTERS: Final = 8 * 1024 * 1024
MAX_NODES: Final = 500_000
MAX_DEPTH: Final = 100

ScalarKind = Literal["string", "integer", "number", "boolean", "null"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALAR: Final = yaml.ScalarEvent
_MAPPING: Final = yaml.MappingStartEvent
_MAPPING_END: Final = yaml.MappingEndEvent
_SEQUENCE_END: Final = yaml.SequenceEndEvent
_ALIAS: Final = yaml.AliasEvent
_DOCUMENT: Final = yaml.DocumentStartEvent
_TAG: Final = "tag:yaml.org,2002:"
_TAG_KINDS: Final[dict[str, ScalarKind]] = {
    f"{_TAG}str": "string",
    f"{_TAG}int": "integer",
    f"{_TAG}float": "number",
    f"{_TAG}bool": "boolean",
    f"{_TAG}null": "null",
}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o?[0-7]+|0b[01]+)\Z")
_NUMBER: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.inf\Z|\.nan\Z"
)
_BEGINS_NUMBER: Final = frozenset("+-.0123456789")
_TRUE: Final = frozenset(["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"])
_FALSE: Final = frozenset(
    ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"]
)
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_WORDS: Final[dict[str, ScalarKind]] = {
    **dict.fromkeys(_NULL, "null"),
    **dict.fromkeys(_TRUE | _FALSE, "boolean"),
}


class YamlError(Exception):
    """The text is not (acceptable) YAML. line and column from 1; 0 when they are unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


class Scalar:
    """path: the field's, in an object that has no lines (kinds.json_nodes). Nodes never change;
    there are millions, so nothing checks it."""

    __slots__ = ("column", "kind", "line", "path", "size", "value")

    def __init__(
        self, value: str, kind: ScalarKind, line: int, column: int, size: int = 1, path: str = ""
    ) -> None:
        self.value = value
        self.kind: ScalarKind = kind
        self.line = line
        self.column = column
        self.size = size
        self.path = path


class Sequence:
    __slots__ = ("column", "items", "line", "path", "size")

    def __init__(
        self, items: tuple[Node, ...], line: int, column: int, size: int = 1, path: str = ""
    ) -> None:
        self.items = items
        self.line = line
        self.column = column
        self.size = size
        self.path = path


class Mapping:
    """entries: (key, value) in the order of the text, keys unique."""

    __slots__ = ("column", "entries", "line", "path", "size")

    def __init__(
        self,
        entries: tuple[tuple[Scalar, Node], ...],
        line: int,
        column: int,
        size: int = 1,
        path: str = "",
    ) -> None:
        self.entries = entries
        self.line = line
        self.column = column
        self.size = size
        self.path = path

    def get(self, key: str) -> Node | None:
        for name, value in self.entries:
            if name.value == key:
                return value
        return None


Node = Scalar | Sequence | Mapping


def compose_all(text: str, first_line: int = 1) -> Iterator[Node]:
    """The documents of `text`, empty ones left out. Raises YamlError at the first bad place.
    first_line: where it begins in what it was taken from; nodes have their lines there."""
    if len(text) > MAX_CHARACTERS:
        raise YamlError(f"the text is longer than {MAX_CHARACTERS} characters")
    try:
        # As yaml.parse, which is a generator, in half of its time.
        yield from _Composer(_LOADER(text).get_event, first_line).documents()
    except yaml.MarkedYAMLError as marked:
        raise _syntax_error(text, marked) from None
    except yaml.reader.ReaderError as unreadable:
        raise _bad_character(text, unreadable.position, unreadable.reason) from None
    except UnicodeEncodeError as encoding:
        raise _bad_character(text, len(text[: encoding.start].encode()), encoding.reason) from None
    except yaml.YAMLError as error:
        raise YamlError(str(error)) from None


def _syntax_error(text: str, error: yaml.MarkedYAMLError) -> YamlError:
    message = error.problem or "not valid YAML"
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlError(message)
    line, column = mark.line + 1, mark.column + 1
    lines = text.splitlines()
    if line <= len(lines) and lines[line - 1][column - 1 : column] == "\t":
        message += "; YAML is indented with spaces, not tabs"
    elif error.context:
        message += f" ({error.context})"
    return YamlError(message, line, column)


def _bad_character(text: str, offset: int, reason: str) -> YamlError:
    """offset: in UTF-8 bytes, as libyaml counts."""
    before = text.encode(errors="replace")[:offset].decode(errors="ignore")
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    return YamlError(f"a character that YAML does not allow: {reason}", line, column)


class _Composer:
    """Builds nodes from events; one per text. Recursion is bounded by MAX_DEPTH."""

    def __init__(self, next_event: Callable[[], Any], first_line: int) -> None:
        """next_event: answers None after the last."""
        self._next = next_event
        self._first_line = first_line
        self._anchors: dict[str, Node | None] = {}
        self._nodes_total = 0

    def documents(self) -> Iterator[Node]:
        while (event := self._next()) is not None:
            if not isinstance(event, _DOCUMENT):
                continue
            self._anchors = {}
            node = self._node(self._next(), 0)
            if not _is_null(node):
                yield node

    def _node(self, event: Any, depth: int) -> Node:
        mark = event.start_mark
        line: int = mark.line + self._first_line
        column: int = mark.column + 1
        if depth > MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", line, column)
        if type(event) is _ALIAS:
            node = self._alias(event.anchor, line, column)
        elif self._nodes_total > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES} nodes", line, column)
        elif event.anchor:
            self._anchors[event.anchor] = None
            node = self._fresh(event, depth, line, column)
            self._anchors[event.anchor] = node
        else:
            node = self._fresh(event, depth, line, column)
        self._nodes_total += 1
        return node

    def _alias(self, anchor: str | None, line: int, column: int) -> Node:
        if anchor is None or anchor not in self._anchors:
            raise YamlError(f"no anchor named {anchor!r} before this alias", line, column)
        node = self._anchors[anchor]
        if node is None:
            raise YamlError(f"the alias {anchor!r} contains itself", line, column)
        self._nodes_total += node.size
        if self._nodes_total > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES} nodes with aliases expanded", line, column)
        return node

    def _fresh(self, event: Any, depth: int, line: int, column: int) -> Node:
        kind = type(event)
        if kind is _SCALAR:
            value: str = event.value
            return Scalar(value, _kind_of(event, value, line, column), line, column)
        if kind is _MAPPING:
            return self._mapping(depth, line, column)
        items: list[Node] = []
        size = 1
        while type(below := self._next()) is not _SEQUENCE_END:
            item = self._node(below, depth + 1)
            items.append(item)
            size += item.size
        return Sequence(tuple(items), line, column, size)

    def _mapping(self, depth: int, line: int, column: int) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Mapping] = []
        while type(event := self._next()) is not _MAPPING_END:
            key = self._node(event, depth + 1)
            value = self._node(self._next(), depth + 1)
            if not isinstance(key, Scalar):
                raise YamlError("a key must be a string", key.line, key.column)
            if key.value == "<<" and type(event) is _SCALAR and event.implicit[0]:
                merged += _merged(value)
            elif key.value in entries:
                first = entries[key.value][0]
                message = f"the key {key.value!r} is given twice, first in line {first.line}"
                raise YamlError(message, key.line, key.column)
            else:
                entries[key.value] = (key, value)
        for mapping in merged:
            for entry in mapping.entries:
                entries.setdefault(entry[0].value, entry)
        found = tuple(entries.values())
        size = 1
        for _, value in found:
            size += 1 + value.size
        return Mapping(found, line, column, size)


def _merged(value: Node) -> list[Mapping]:
    """What a merge key brings (YAML 1.1 "merge"): a mapping or a list of them, first wins."""
    found = value.items if isinstance(value, Sequence) else (value,)
    mappings = [node for node in found if isinstance(node, Mapping)]
    if len(mappings) != len(found):
        raise YamlError("'<<' takes a mapping or a list of mappings", value.line, value.column)
    return mappings


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


def _kind_of(event: Any, value: str, line: int, column: int) -> ScalarKind:
    implicit: tuple[bool, bool] = event.implicit
    if implicit[0]:
        return _plain_kind(value)
    tag: str | None = event.tag
    if implicit[1] or tag is None or tag == "!":
        return "string"
    if tag not in _TAG_KINDS:
        raise YamlError(f"the tag {tag!r} is not supported", line, column)
    return _TAG_KINDS[tag]


def _plain_kind(value: str) -> ScalarKind:
    word = _WORDS.get(value)
    if word is not None:
        return word
    if value[0] not in _BEGINS_NUMBER:
        return "string"
    if _INTEGER.match(value):
        return "integer"
    if _NUMBER.match(value):
        return "number"
    return "string"


def is_true(scalar: Scalar) -> bool:
    """The value of a scalar of kind 'boolean'."""
    return scalar.value in _TRUE
