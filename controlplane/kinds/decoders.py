"""Decoders of values: text, numbers, durations, enums, lists, maps. See schema for records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as MappingType
from ipaddress import ip_network
from typing import Any, TypeVar

from controlplane.kinds.schema import Decoder, Invalid, Place, Problem
from controlplane.kinds.yaml_nodes import Mapping, Node, Scalar, Sequence, is_true
from controlplane.mesh.ip import is_ip

T = TypeVar("T")

MAX_DURATION_S = 87600 * 3600.0
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_HOST_NAME = re.compile(r"(?=.*[A-Za-z_])[A-Za-z0-9_]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9_.])?")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def text(node: Node, place: Place) -> str:
    """A string. A number or boolean is refused, as Kubernetes does: it wants quotes."""
    if isinstance(node, Scalar) and node.kind == "string":
        return node.value
    if isinstance(node, Scalar) and node.kind != "null":
        message = f'expected a string, got the {node.kind} {node.value}; write "{node.value}"'
        raise Invalid([place.problem(node, message)])
    raise place.refuse(node, "a string")


def matching(pattern: str, expected: str, max_length: int = 253) -> Decoder[str]:
    """A string that `pattern` matches whole; `expected` says so in words."""
    compiled = re.compile(pattern)

    def decode(node: Node, place: Place) -> str:
        value = text(node, place)
        if not compiled.fullmatch(value) or len(value) > max_length:
            raise place.refuse(node, expected)
        return value

    return decode


def line(node: Node, place: Place) -> str:
    """A string for one line of HTTP, as Envoy takes it: no NUL, CR or LF, at most 16384 long."""
    value = text(node, place)
    if len(value.encode()) > 16384 or any(mark in value for mark in "\0\r\n"):
        raise place.refuse(node, "one line of at most 16384 characters")
    return value


def boolean(node: Node, place: Place) -> bool:
    if isinstance(node, Scalar) and node.kind == "boolean":
        return is_true(node)
    raise place.refuse(node, "true or false")


def integer(minimum: int, maximum: int) -> Decoder[int]:
    """An integer in a closed range."""

    def decode(node: Node, place: Place) -> int:
        if isinstance(node, Scalar) and node.kind == "integer":
            value = _to_int(node.value)
            if minimum <= value <= maximum:
                return value
        raise place.refuse(node, f"an integer {minimum}..{maximum}")

    return decode


def _to_int(value: str) -> int:
    if len(value) > 40:
        return 1 << 127
    digits = value.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    return int(value, 8 if octal else 0)


def number(minimum: float, maximum: float) -> Decoder[float]:
    """A number in a closed range."""

    def decode(node: Node, place: Place) -> float:
        if isinstance(node, Scalar) and node.kind in ("integer", "number"):
            value = _to_float(node)
            if minimum <= value <= maximum:
                return value
        raise place.refuse(node, f"a number {minimum:g}..{maximum:g}")

    return decode


def _to_float(node: Scalar) -> float:
    """'.nan', and what is no number to Python, are in no range."""
    if node.kind == "integer":
        return float(_to_int(node.value))
    try:
        return float(node.value)
    except ValueError:
        return float("inf")


def duration(node: Node, place: Place) -> float:
    """A Go duration ('1h30m', '0.5s', '100ms'), in seconds."""
    value = text(node, place)
    parts = _DURATION.findall(value)
    if value == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise place.refuse(node, "a duration such as 5s, 250ms or 1m30s")
    value_s = sum(float(number[:20]) * _SECONDS[unit] for number, unit in parts)
    if value_s > MAX_DURATION_S:
        raise place.refuse(node, "a duration of at most 87600h (ten years)")
    return round(value_s, 9)


def positive_duration(node: Node, place: Place) -> float:
    """A duration of at least a millisecond."""
    value = duration(node, place)
    if value < 0.001:
        raise place.refuse(node, "a duration of at least 1ms")
    return value


def enum(*values: str, fold_case: bool = False) -> Decoder[Any]:
    """One of `values`, with fold_case in any case. Typed Any so that a field may say Literal."""
    expected = "one of " + ", ".join(values) if len(values) > 1 else values[0]

    def decode(node: Node, place: Place) -> Any:
        if isinstance(node, Scalar) and node.kind == "string":
            value = node.value.upper() if fold_case else node.value
            if value in values:
                return value
        raise place.refuse(node, expected)

    return decode


def not_yet(decode: Decoder[str], *values: str) -> Decoder[Any]:
    """`decode`, but `values`, though valid, are refused as not supported yet."""

    def checked(node: Node, place: Place) -> Any:
        value = decode(node, place)
        if value in values:
            raise Invalid([place.problem(node, f"{value} is not supported yet", "NotSupported")])
        return value

    return checked


def list_of(decode: Decoder[T], minimum: int = 0) -> Decoder[tuple[T, ...]]:
    """A list with at least `minimum` items."""

    def decode_list(node: Node, place: Place) -> tuple[T, ...]:
        if not isinstance(node, Sequence):
            raise place.refuse(node, "a list")
        if len(node.items) < minimum:
            raise place.refuse(node, f"at least {minimum} item" + "s" * (minimum > 1))
        values: list[T] = []
        problems: list[Problem] = []
        for index, item in enumerate(node.items):
            try:
                values.append(decode(item, place.item(index)))
            except Invalid as invalid:
                problems += invalid.problems
        if problems:
            raise Invalid(problems)
        return tuple(values)

    return decode_list


def map_of(decode: Decoder[T]) -> Decoder[MappingType[str, T]]:
    """A mapping with any keys, sorted by key."""

    def decode_map(node: Node, place: Place) -> MappingType[str, T]:
        if not isinstance(node, Mapping):
            raise place.refuse(node, "a mapping")
        values: dict[str, T] = {}
        problems: list[Problem] = []
        for name, value in node.entries:
            try:
                values[name.value] = decode(value, place.child(name.value))
            except Invalid as invalid:
                problems += invalid.problems
        if problems:
            raise Invalid(problems)
        return dict(sorted(values.items()))

    return decode_map


def json_object(node: Node, place: Place) -> str:
    """A mapping with any content, as JSON."""
    if not isinstance(node, Mapping):
        raise place.refuse(node, "a mapping")
    return json.dumps(_plain(node, place))


def _plain(node: Node, place: Place) -> Any:
    if isinstance(node, Mapping):
        return {name.value: _plain(value, place.child(name.value)) for name, value in node.entries}
    if isinstance(node, Sequence):
        return [_plain(item, place.item(index)) for index, item in enumerate(node.items)]
    if node.kind == "boolean":
        return is_true(node)
    if node.kind == "integer":
        return _to_int(node.value)
    if node.kind == "number":
        return _to_float(node)
    return None if node.kind == "null" else node.value


def opaque(node: Node, place: Place) -> None:
    """Anything; its content has no meaning here."""


def address(node: Node, place: Place) -> str:
    """An IP address or a host name."""
    value = text(node, place)
    if value.startswith("unix:"):
        raise Invalid([place.problem(node, "unix sockets are not supported yet", "NotSupported")])
    if not is_ip(value) and not _HOST_NAME.fullmatch(value):
        raise place.refuse(node, "an IP address or host name")
    return value


def ip(node: Node, place: Place) -> str:
    value = text(node, place)
    if not is_ip(value):
        raise place.refuse(node, "an IP address")
    return value


def ip_range(node: Node, place: Place) -> str:
    """An IP address, or a CIDR range."""
    value = text(node, place)
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise place.refuse(node, "an IP address or CIDR range") from None
    return value


PORT = integer(1, 65535)
DNS_LABEL = "[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
"""RFC 1123, as a regular expression."""
label = matching(DNS_LABEL, "at most 63 letters, digits and '-'", 63)
optional_label = matching(f"(?:{DNS_LABEL})?", "at most 63 letters, digits and '-'", 63)
NAME = matching(
    r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "a name of lower-case letters, digits, '-' and '.'"
)
HOST = matching(
    r"\*|(?=.*[A-Za-z0-9_])\*?[A-Za-z0-9_.]([-A-Za-z0-9_.]*[A-Za-z0-9_])?\.?",
    "a host name (a '*' only alone or in front)",
)
_LABEL_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]{{0,251}}[A-Za-z0-9])?/)?{_LABEL_NAME}")
_label_values = map_of(matching(f"(?:{_LABEL_NAME})?", "a label's value", 63))


def LABELS(node: Node, place: Place) -> MappingType[str, str]:
    """Kubernetes' labels: qualified names to short words."""
    found = _label_values(node, place)
    for key in found:
        if not _LABEL_KEY.fullmatch(key):
            raise Invalid([place.problem(node, f"{key!r} is not the name of a label")])
    return found
