"""Reads YAML or JSON into a tree of nodes that know their line and column.

It knows nothing of protobuf: `yaml_message` walks the tree along message descriptors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from protos.frozen import frozen
from proxy.config.rejected import Rejected

Node = yaml.ScalarNode | yaml.SequenceNode | yaml.MappingNode
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Envoy reads scalars as yaml-cpp does: only plain ones are anything but strings.
_BOOLEANS: Mapping[str, bool] = {
    spelling: value
    for value, words in ((True, ("true", "yes", "on", "y")), (False, ("false", "no", "off", "n")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = re.compile(r"[-+]?(0x[0-9a-fA-F]{1,300}|0o?[0-7]{1,300}|[0-9]{1,300})\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")


@frozen
class Position:
    """A place in a file, both counted from 1."""

    line: int
    column: int


class BadConfig(ValueError):
    """One clear line for the user: `file:line:column: field.path: what is wrong`."""

    def __init__(self, file: str, position: Position | None, error: Rejected) -> None:
        place = f"{file}:{position.line}:{position.column}" if position else file
        super().__init__(f"{place}: {error}")
        self.file = file
        self.position = position
        self.path = error.path
        self.why = error.why


def position_of(node: Node) -> Position:
    mark = node.start_mark
    return Position(mark.line + 1, mark.column + 1)


def compose(path: Path) -> Node:
    """The root node of the only document in the file; BadConfig when there is none."""
    text = _text(path)
    try:
        root: Any = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else None
        why = " ".join(part for part in (error.context, error.problem) if part)
        raise BadConfig(str(path), position, Rejected("", f"is not valid YAML: {why}")) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        why = (
            "it is nested too deep"
            if isinstance(error, RecursionError)
            else " ".join(str(error).split())
        )
        raise BadConfig(str(path), None, Rejected("", f"is not valid YAML: {why}")) from None
    if root is None:
        raise BadConfig(str(path), None, Rejected("", "the file is empty"))
    found: Node = root
    return found


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        raise BadConfig(str(path), None, Rejected("", why)) from None
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 at byte {error.start}"
        raise BadConfig(str(path), None, Rejected("", why)) from None
    # JSON may be indented by tabs, which YAML forbids; inside JSON's strings there are none.
    return text.replace("\t", " ") if text.lstrip().startswith("{") else text


def scalar(node: yaml.ScalarNode) -> str | bool | int | float | None:
    """What a scalar says: quoted ones and all that is nothing else are strings."""
    text: str = node.value
    if node.style or node.tag == "!":
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.match(text):
        return _integer(text)
    return float(text) if _FLOAT.match(text) else text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if digits[:2] in ("0x", "0o"):
        value = int(digits, 0)
    else:
        octal = len(digits) > 1 and digits[0] == "0" and not set(digits) & set("89")
        value = int(digits, 8 if octal else 10)
    return -value if text.startswith("-") else value
