"""JSON lines that leave out what is missing (`omit_empty_values`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.l7.getters import Getter
    from proxy.l7.logged import Logged

Write = Callable[["Logged"], str]
"""JSON, `null` for nothing."""
Compile = Callable[[str], "str | Getter"]
"""A format string to JSON text, or to what gives it for a stream."""


def json_omitting(value: Any, compiled: Compile) -> Write:
    """Members and elements that are null are left out, and objects of which nothing is left."""
    if isinstance(value, Mapping):
        return _members([(name, json_omitting(value[name], compiled)) for name in sorted(value)])
    if isinstance(value, list | tuple):
        return _elements([json_omitting(each, compiled) for each in value])
    if not isinstance(value, str):
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        return _fixed(json.dumps(number))
    found = compiled(value)
    if isinstance(found, str):
        return _fixed(found)
    return lambda stream: str(found(stream))


def _fixed(text: str) -> Write:
    return lambda _: text


def _members(members: list[tuple[str, Write]]) -> Write:
    written = [(encode_basestring(name) + ":", write) for name, write in members]

    def write_all(stream: Logged) -> str:
        parts = [(name, write(stream)) for name, write in written]
        kept = [name + text for name, text in parts if text != "null"]
        return "{" + ",".join(kept) + "}" if kept else "null"

    return write_all


def _elements(elements: list[Write]) -> Write:
    def write_all(stream: Logged) -> str:
        parts = [write(stream) for write in elements]
        return "[" + ",".join([text for text in parts if text != "null"]) + "]"

    return write_all
