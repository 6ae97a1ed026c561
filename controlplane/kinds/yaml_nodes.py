"""YAML text -> nodes that remember line and column. Knows no schema.

Composed from PyYAML's events, not with its compose(): libyaml's composer recurses without a bound
and a page of '[' ends the process. Here depth, size and the number of nodes after aliases are
expanded are bounded, duplicate keys are refused, and merge keys ('<<') are resolved. Plain scalars
get the types that Kubernetes' YAML reader gives them. Lines and columns count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

MAX_CHARACTERS = 8 * 1024 * 1024
MAX_NODES = 500_000
MAX_DEPTH = 100

ScalarKind = Literal["string", "integer", "number", "boolean", "null"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TAG_KINDS: dict[str, ScalarKind] = {
    f"{_TAG}str": "string",
    f"{_TAG}int": "integer",
    f"{_TAG}float": "number",
    f"{_TAG}bool": "boolean",
    f"{_TAG}null": "null",
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o?[0-7]+|0b[01]+)\Z")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.inf\Z|\.nan\Z")
_TRUE = frozenset(["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"])
_FALSE = frozenset(["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"])
_NULL = frozenset(("", "~", "null", "Null", "NULL"))


class YamlError(Exception):
    """The text is not (acceptable) YAML. line and column from 1; 0 when they are unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


@dataclass(slots=True)
class Scalar:
    """path: the field's, in an object that has no lines (kinds.json_nodes). Nodes never change;
    frozen they would take four times as long to make, and there are millions."""

    value: str
    kind: ScalarKind
    line: int
    column: int
    size: int = 1
    path: str = ""


@dataclass(slots=True)
class Sequence:
    items: tuple[Node, ...]
    line: int
    column: int
    size: int = 1
    path: str = ""


@dataclass(slots=True)
class Mapping:
    """entries: (key, value) in the order of the text, keys unique."""

    entries: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int
    size: int = 1
    path: str = ""

    def get(self, key: str) -> Node | None:
        return next((value for name, value in self.entries if name.value == key), None)


Node = Scalar | Sequence | Mapping


def compose_all(text: str, first_line: int = 1) -> Iterator[Node]:
    """The documents of `text`, empty ones left out. Raises YamlError at the first bad place.
    first_line: where it begins in what it was taken from; nodes have their lines there."""
    if len(text) > MAX_CHARACTERS:
        raise YamlError(f"the text is longer than {MAX_CHARACTERS} characters")
    try:
        # As yaml.parse, which is a generator, in half of its time.
        yield from _Composer(iter(_LOADER(text).get_event, None), first_line).documents()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(text, error) from None
    except yaml.reader.ReaderError as error:
        raise _bad_character(text, error.position, error.reason) from None
    except UnicodeEncodeError as error:
        raise _bad_character(text, len(text[: error.start].encode()), error.reason) from None
    except yaml.YAMLError as error:
        raise YamlError(str(error)) from None


def _syntax_error(text: str, error: yaml.MarkedYAMLError) -> YamlError:
    message = error.problem or "not valid YAML"
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlError(message)
    line, column = _place(mark)
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


def _place(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


class _Composer:
    """Builds nodes from events; one per text. Recursion is bounded by MAX_DEPTH."""

    def __init__(self, events: Iterator[Any], first_line: int) -> None:
        self._events = events
        self._first_line = first_line
        self._anchors: dict[str, Node | None] = {}
        self._nodes_total = 0

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._anchors = {}
            node = self._node(next(self._events), 0)
            if not (isinstance(node, Scalar) and node.kind == "null"):
                yield node

    def _node(self, event: Any, depth: int) -> Node:
        mark = event.start_mark
        line, column = mark.line + self._first_line, mark.column + 1
        if depth > MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", line, column)
        if isinstance(event, yaml.AliasEvent):
            node = self._alias(event, line, column)
        else:
            if event.anchor:
                self._anchors[event.anchor] = None
            node = self._fresh(event, depth, line, column)
            if event.anchor:
                self._anchors[event.anchor] = node
        self._nodes_total += 1
        return node

    def _alias(self, event: Any, line: int, column: int) -> Node:
        if event.anchor not in self._anchors:
            raise YamlError(f"no anchor named {event.anchor!r} before this alias", line, column)
        node = self._anchors[event.anchor]
        if node is None:
            raise YamlError(f"the alias {event.anchor!r} contains itself", line, column)
        self._nodes_total += node.size
        if self._nodes_total > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES} nodes with aliases expanded", line, column)
        return node

    def _fresh(self, event: Any, depth: int, line: int, column: int) -> Node:
        if self._nodes_total > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES} nodes", line, column)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, _kind_of(event, line, column), line, column)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item, depth + 1))
            return Sequence(tuple(items), line, column, 1 + sum(item.size for item in items))
        return self._mapping(depth, line, column)

    def _mapping(self, depth: int, line: int, column: int) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Mapping] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                raise YamlError("a key must be a string", key.line, key.column)
            if key.value == "<<" and event.implicit[0]:
                merged += _merged(value)
            elif key.value in entries:
                first = entries[key.value][0]
                message = f"the key {key.value!r} is given twice, first in line {first.line}"
                raise YamlError(message, key.line, key.column)
            else:
                entries[key.value] = (key, value)
        for mapping in merged:
            for name, value in mapping.entries:
                entries.setdefault(name.value, (name, value))
        size = 1 + sum(1 + value.size for _, value in entries.values())
        return Mapping(tuple(entries.values()), line, column, size)


def _merged(value: Node) -> list[Mapping]:
    """What a merge key brings (YAML 1.1 "merge"): a mapping or a list of them, first wins."""
    found = value.items if isinstance(value, Sequence) else (value,)
    mappings = [node for node in found if isinstance(node, Mapping)]
    if len(mappings) != len(found):
        raise YamlError("'<<' takes a mapping or a list of mappings", value.line, value.column)
    return mappings


def _kind_of(event: Any, line: int, column: int) -> ScalarKind:
    if event.implicit[0]:
        return _plain_kind(event.value)
    if event.implicit[1] or event.tag in ("!", None):
        return "string"
    if event.tag not in _TAG_KINDS:
        raise YamlError(f"the tag {event.tag!r} is not supported", line, column)
    return _TAG_KINDS[event.tag]


def _plain_kind(value: str) -> ScalarKind:
    if value in _NULL:
        return "null"
    if value in _TRUE or value in _FALSE:
        return "boolean"
    if _INTEGER.match(value):
        return "integer"
    if _NUMBER.match(value):
        return "number"
    return "string"


def is_true(scalar: Scalar) -> bool:
    """The value of a scalar of kind 'boolean'."""
    return scalar.value in _TRUE
