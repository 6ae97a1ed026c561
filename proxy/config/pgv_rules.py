"""The rules of protoc-gen-validate for one value: numbers, strings, bytes, enums, durations.

`pgv` walks messages and asks here for the check of a leaf. A rule that is not known here
raises NotImplementedError when it is compiled.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from validate import validate_pb2

ValueCheck = Callable[[Any], str | None]
"""Answers what is wrong with the value, None if nothing is."""

_NUMBERS = frozenset(("float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64"))
_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "const": (operator.eq, "must be"),
    "lt": (operator.lt, "must be less than"),
    "lte": (operator.le, "must be at most"),
    "gt": (operator.gt, "must be greater than"),
    "gte": (operator.ge, "must be at least"),
}
# PGV's well_known_regex: RFC 9110 sections 5.1 and 5.5 when strict, else no NUL, CR or LF.
_HEADER_NAME = re.compile(r":?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_LOOSE_HEADER = re.compile(r"[^\x00\x0a\x0d]*")


def compile_value(
    rules: validate_pb2.FieldRules, field: FieldDescriptor | None
) -> ValueCheck | None:
    """One check for all rules of a value of `field`; None when there are none."""
    kind = rules.WhichOneof("type")
    if kind is None:
        return None
    typed: Any = getattr(rules, kind)
    parts = tuple(_parts(kind, typed, field))
    if not parts:
        return None
    ignore_empty = getattr(typed, "ignore_empty", False)

    def check(value: Any) -> str | None:
        if ignore_empty and not value:
            return None
        for part in parts:
            if (wrong := part(value)) is not None:
                return wrong
        return None

    return check


def _parts(kind: str, rules: Any, field: FieldDescriptor | None) -> Iterator[ValueCheck]:
    """A check per rule that is set; `required`, `ignore_empty` and the like are not values."""
    for rule, wanted in rules.ListFields():
        name = rule.name
        if name in ("required", "ignore_empty", "strict", "skip"):
            continue
        if kind in _NUMBERS or kind == "bool" or (kind == "duration" and name in _COMPARISONS):
            yield _comparison(name, wanted, kind)
        elif kind in ("string", "bytes"):
            yield _text_rule(name, wanted, rules)
        elif kind == "enum":
            yield _enum_rule(name, wanted, field)
        elif kind in ("repeated", "map", "message", "any"):
            continue  # pgv.py's own
        else:
            raise NotImplementedError(f"rule {kind}.{name} of protoc-gen-validate")


def _comparison(name: str, wanted: Any, kind: str) -> ValueCheck:
    if name in ("in", "not_in"):
        return _membership(name, frozenset(wanted))
    compare, words = _COMPARISONS[name]
    if kind == "duration":
        limit = _nanoseconds(wanted)
        text = f"{words} {limit / 1e9:g}s"
        return lambda value: None if compare(_nanoseconds(value), limit) else text
    text = f"{words} {str(wanted).lower() if kind == 'bool' else format(wanted, 'g')}"
    if kind not in ("float", "double", "bool"):
        text = f"{words} {wanted}"
    return lambda value: None if compare(value, wanted) else f"{text}, is {value}"


def _nanoseconds(duration: Any) -> int:
    return int(duration.seconds) * 1_000_000_000 + int(duration.nanos)


def _membership(name: str, wanted: frozenset[Any]) -> ValueCheck:
    inside = name == "in"
    words = "must be one of" if inside else "must not be one of"
    text = f"{words} {', '.join(sorted(map(str, wanted)))}"
    return lambda value: None if (value in wanted) is inside else text


def _text_rule(name: str, wanted: Any, rules: Any) -> ValueCheck:
    if name in ("in", "not_in"):
        return _membership(name, frozenset(wanted))
    if name == "well_known_regex":
        return _header_rule(wanted, strict=rules.strict if rules.HasField("strict") else True)
    if name == "pattern":
        pattern = re.compile(wanted if isinstance(wanted, str) else wanted.decode())
        return lambda value: None if pattern.search(value) else f"must match `{wanted}`"
    made = _TEXT_RULES.get(name)
    if made is None:
        raise NotImplementedError(f"rule string.{name} of protoc-gen-validate")
    holds, words = made
    text = f"{words} {wanted!r}" if isinstance(wanted, str | bytes) else f"{words} {wanted}"
    if name.startswith("min_") and wanted == 1:
        text = "must not be empty"
    return lambda value: None if holds(value, wanted) else text


def _bytes_of(value: Any) -> int:
    return len(value.encode() if isinstance(value, str) else value)


_TEXT_RULES: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "const": (operator.eq, "must be"),
    "len": (lambda value, wanted: len(value) == wanted, "must have a length of"),
    "min_len": (lambda value, wanted: len(value) >= wanted, "must have a length of at least"),
    "max_len": (lambda value, wanted: len(value) <= wanted, "must have a length of at most"),
    "min_bytes": (lambda value, wanted: _bytes_of(value) >= wanted, "must have at least bytes"),
    "max_bytes": (lambda value, wanted: _bytes_of(value) <= wanted, "must have at most bytes"),
    "prefix": (lambda value, wanted: value.startswith(wanted), "must begin with"),
    "suffix": (lambda value, wanted: value.endswith(wanted), "must end with"),
    "contains": (lambda value, wanted: wanted in value, "must contain"),
    "not_contains": (lambda value, wanted: wanted not in value, "must not contain"),
}


def _header_rule(known: int, strict: bool) -> ValueCheck:
    if known == validate_pb2.KnownRegex.HTTP_HEADER_NAME:
        pattern, words = (_HEADER_NAME, "is not a valid header name")
    else:
        pattern, words = (_HEADER_VALUE, "is not a valid header value")
    if not strict:
        pattern = _LOOSE_HEADER
    # As a PGV pattern this is a regular expression over the whole; an empty name has its own rule.
    return lambda value: None if pattern.fullmatch(value) or value == "" else words


def _enum_rule(name: str, wanted: Any, field: FieldDescriptor | None) -> ValueCheck:
    if name in ("in", "not_in"):
        return _membership(name, frozenset(wanted))
    if name == "const":
        return _comparison(name, wanted, "int32")
    if name != "defined_only" or field is None or field.enum_type is None:
        raise NotImplementedError(f"rule enum.{name} of protoc-gen-validate")
    defined = frozenset(field.enum_type.values_by_number)
    return lambda value: None if value in defined else f"{value} is not a value of this enum"
