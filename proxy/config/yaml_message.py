"""Turns a tree of YAML nodes into a protobuf message, and says where every wrong value stands.

It is protobuf's JSON mapping (names in snake_case or camelCase, `Any` by `@type`) walked along the
descriptors by hand, because json_format knows no positions. It knows nothing of Envoy.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from proxy.config import any_types
from proxy.config.fields import UNSUPPORTED
from proxy.config.pgv import WRAPPERS
from proxy.config.positions import Node, Position, position_of, scalar
from proxy.config.rejected import Rejected, at

_MAX_VALUES = 1_000_000
"""A bound for aliases of aliases, which can make a small file endless."""
_DURATION = re.compile(r"-?[0-9]+(\.[0-9]{1,9})?s\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}\Z")
_F = FieldDescriptor
_INTEGER_BOUNDS: Mapping[int, tuple[int, int]] = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Reader:
    """Reads one file. `positions` maps the path of every value that was read to its place."""

    __slots__ = ("_count", "_open", "positions")

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self._count = 0
        self._open: set[int] = set()

    def read(self, node: Node, into: Message) -> None:
        """Fills `into`; raises Rejected, for whose path `position` knows the place."""
        descriptor: Any = into.DESCRIPTOR
        plain = self._message(node, descriptor, "")
        try:
            json_format.ParseDict(plain, into)
        except (json_format.ParseError, ValueError, RecursionError) as error:
            raise Rejected("", " ".join(str(error).split())) from None

    def position(self, path: str) -> Position | None:
        """The place of `path`, or of the nearest value around it."""
        while path and path not in self.positions:
            cut = max(path.rfind("."), path.rfind("["))
            path = path[: max(cut, 0)]
        return self.positions.get(path)

    def _value(self, node: Node, field: FieldDescriptor, path: str) -> Any:
        if field.message_type is not None:
            return self._message(node, field.message_type, path)
        return _leaf(self._scalar(node, path), field, path)

    def _message(self, node: Node, kind: Descriptor, path: str) -> Any:
        self._note(node, path)
        name = kind.full_name
        if name in WRAPPERS:
            return _leaf(self._scalar(node, path), kind.fields_by_name["value"], path)
        if name == "google.protobuf.Duration":
            if isinstance(node, yaml.MappingNode):
                # Not protobuf's JSON, but Envoy reads it: {seconds: 5, nanos: 0}.
                return _duration_of_parts(self._fields(node, kind, path))
            return _duration(self._scalar(node, path), path)
        if name in ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"):
            plain = self._plain(node, path)
            if name.endswith("Struct") and not isinstance(plain, dict):
                raise Rejected(path, f"expected an object, found {_shown(node)}")
            return plain
        if name == "google.protobuf.Any":
            return self._any(node, path)
        return self._fields(node, kind, path)

    def _note(self, node: Node, path: str) -> None:
        self.positions[path] = position_of(node)
        self._count += 1
        if self._count > _MAX_VALUES:
            raise Rejected(path, f"the file has more than {_MAX_VALUES} values")

    def _pairs(self, node: Node, path: str) -> Iterable[tuple[str, Node]]:
        """The keys, each once, and values of an object. An alias to itself is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise Rejected(path, f"expected an object, found {_shown(node)}")
        self._enter(node, path)
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None:
                raise Rejected(path, "a key must be a string")
            self.positions[at(path, name)] = position_of(key)
            if name in seen:
                raise Rejected(at(path, name), "is there twice")
            seen.add(name)
            yield name, value
        self._open.discard(id(node))

    def _items(self, node: Node, path: str) -> Iterable[tuple[str, Node]]:
        if not isinstance(node, yaml.SequenceNode):
            raise Rejected(path, f"expected a list, found {_shown(node)}")
        self._enter(node, path)
        for index, item in enumerate(node.value):
            yield f"{path}[{index}]", item
        self._open.discard(id(node))

    def _enter(self, node: Node, path: str) -> None:
        if id(node) in self._open:
            raise Rejected(path, "is an alias of something around itself")
        self._open.add(id(node))

    def _fields(
        self, node: Node, kind: Descriptor, path: str, skip: str | None = None
    ) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        oneofs: dict[str, str] = {}
        for name, value in self._pairs(node, path):
            if name == skip:
                continue
            field = _field(kind, name, path)
            where = at(path, field.name)
            self.positions[where] = self.positions[at(path, name)]
            if field.name in plain:
                raise Rejected(where, "is there twice, in two spellings")
            if _is_null(value):
                continue
            oneof = field.containing_oneof
            other = oneofs.setdefault(oneof.name, field.name) if oneof else field.name
            if other != field.name:
                raise Rejected(where, f"cannot be set together with `{other}`")
            plain[field.name] = self._field_value(value, field, where)
        return plain

    def _field_value(self, node: Node, field: FieldDescriptor, path: str) -> Any:
        if not field.is_repeated:
            return self._value(node, field, path)
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            of_values = kind.fields_by_name["value"]
            return {
                key: self._value(value, of_values, f"{path}[{key}]")
                for key, value in self._keyed(node, path)
            }
        return [self._value(item, field, where) for where, item in self._items(node, path)]

    def _keyed(self, node: Node, path: str) -> Iterable[tuple[str, Node]]:
        for key, value in self._pairs(node, path):
            self.positions[f"{path}[{key}]"] = self.positions[at(path, key)]
            yield key, value

    def _any(self, node: Node, path: str) -> dict[str, Any]:
        if isinstance(node, yaml.MappingNode) and not node.value:
            return {}  # set, but empty: `FilterConfig.config` means something by that
        type_url = self._type_url(node, path)
        name = type_url.rpartition("/")[2]
        kind = any_types.descriptor(name)
        if kind is None:
            self.positions[path] = self.positions[at(path, "@type")]
            raise Rejected(at(path, "@type"), f"{name} is {UNSUPPORTED}")
        # The fields of the packed message stand beside @type.
        return {"@type": type_url, **self._fields(node, kind, path, skip="@type")}

    def _type_url(self, node: Node, path: str) -> str:
        for name, value in self._pairs(node, path):
            if name == "@type":
                self._open.discard(id(node))
                found = self._scalar(value, at(path, "@type"))
                self.positions[at(path, "@type")] = position_of(value)
                if isinstance(found, str) and found.rpartition("/")[2]:
                    return found
                raise Rejected(at(path, "@type"), "must be a type URL")
        raise Rejected(path, "needs an `@type`")

    def _scalar(self, node: Node, path: str) -> str | bool | int | float | None:
        if isinstance(node, yaml.ScalarNode):
            self._note(node, path)
            return scalar(node)
        raise Rejected(path, f"expected a single value, found {_shown(node)}")

    def _plain(self, node: Node, path: str) -> Any:
        """Free data (`Struct`): whatever YAML says."""
        self._note(node, path)
        if isinstance(node, yaml.ScalarNode):
            return scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, where) for where, item in self._items(node, path)]
        return {key: self._plain(value, at(path, key)) for key, value in self._pairs(node, path)}


def _field(kind: Descriptor, name: str, path: str) -> FieldDescriptor:
    found = kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)
    if found is not None:
        return found
    by_json = {field.json_name: field for field in kind.fields}
    if name in by_json:
        return by_json[name]
    near = difflib.get_close_matches(name, kind.fields_by_name, n=1)
    hint = f", did you mean `{near[0]}`?" if near else ""
    raise Rejected(at(path, name), f"{kind.full_name} has no such field{hint}")


def _is_null(node: Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and scalar(node) is None


def _shown(node: Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "an object"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return f"`{node.value}`" if node.value else "nothing"


def _duration(value: object, path: str) -> str:
    if isinstance(value, str) and _DURATION.match(value):
        return value
    raise Rejected(path, f"expected a duration like 2.5s, found `{value}`")


def _duration_of_parts(parts: dict[str, Any]) -> str:
    seconds, nanos = parts.get("seconds", 0), parts.get("nanos", 0)
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}.{abs(nanos):09d}s"


def _leaf(value: Any, field: FieldDescriptor, path: str) -> Any:
    """`value` in a form that json_format takes for a field of this type, or Rejected."""
    kind = field.cpp_type
    if kind == _F.CPPTYPE_BOOL:
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):  # in quotes, as Envoy reads them too
            return value == "true"
        raise Rejected(path, f"expected true or false, found {_quoted(value)}")
    if kind == _F.CPPTYPE_STRING:
        return _string(value, field, path)
    if kind == _F.CPPTYPE_ENUM:
        return _enum(value, field, path)
    return _number(value, kind, path)


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "nothing" if value is None else f"`{value}`"


def _string(value: object, field: FieldDescriptor, path: str) -> str:
    if not isinstance(value, str):
        hint = "" if value is None else " without quotes"
        raise Rejected(path, f"expected a string, found {_quoted(value)}{hint}")
    if field.type == _F.TYPE_BYTES and not _BASE64.match("".join(value.split())):
        raise Rejected(path, "expected bytes in base64")
    return value


def _enum(value: object, field: FieldDescriptor, path: str) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    names = list(field.enum_type.values_by_name) if field.enum_type else []
    # A bare NO, ON or OFF is a word of an enum here, not a boolean.
    text = value if isinstance(value, str) else _quoted(value)
    if text in names:
        return text
    for name in names:  # Envoy reads them in any case
        if name.lower() == text.lower():
            return name
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]}?" if near else ""
    raise Rejected(path, f"`{text}` is none of {', '.join(names)}{hint}")


def _number(value: object, kind: int, path: str) -> int | float | str:
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected(path, f"expected a number, found {_quoted(value)}")
    if kind not in _INTEGER_BOUNDS:
        return value
    if not math.isfinite(value) or value != int(value):
        raise Rejected(path, f"expected a whole number, found `{value}`")
    low, high = _INTEGER_BOUNDS[kind]
    if not low <= value <= high:
        raise Rejected(path, f"{value} is out of range, {low} to {high}")
    return int(value)


def _from_text(text: str) -> int | float | str:
    """Numbers may be quoted in protobuf's JSON."""
    for convert in (int, float):
        try:
            number: int | float = convert(text)
        except ValueError:
            continue
        return number
    return text
