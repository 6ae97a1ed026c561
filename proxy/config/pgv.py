"""protoc-gen-validate: what Envoy refuses by the rules inside its proto files, we refuse too.

The rules are options of the descriptors; each message type is compiled once. Most fields of a
message are unset, so only two things are looked at: what must hold although a field is unset
(required, not empty), and the fields that are set. An `Any` is not opened here: whoever unpacks it
validates what was inside. An unknown kind of rule fails when the type is compiled, never silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from validate import validate_pb2

from proxy.config.pgv_rules import ValueCheck, compile_value
from proxy.config.rejected import Rejected

MessageCheck = Callable[[Any], None]
"""Looks at a whole message; Rejected has a path below that message."""
FieldCheck = Callable[[Any], None]
"""Looks at the value of one field; Rejected has a path below that value."""

WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Bool", "Int32", "Int64", "UInt32", "UInt64", "Float", "Double", "String", "Bytes")
)
LEAVES = WRAPPERS | {
    "google.protobuf.Any",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
}
"""Well-known types: values, not messages of Envoy's."""


def validate(message: Message, path: str = "") -> None:
    """Raises Rejected at a field that breaks one of the rules of its type."""
    try:
        _validate(message)
    except Rejected as error:
        raise error.below(path) from None


def _validate(message: Message) -> None:
    whole, by_number = _checks(message.DESCRIPTOR)
    for look in whole:
        look(message)
    for field, value in message.ListFields():
        for check in by_number.get(field.number, ()):
            try:
                check(value)
            except Rejected as error:
                raise error.below(field.name) from None


@cache
def _checks(
    descriptor: Descriptor,
) -> tuple[tuple[MessageCheck, ...], Mapping[int, tuple[FieldCheck, ...]]]:
    options = _options(descriptor)
    if options[validate_pb2.disabled] or options[validate_pb2.ignored]:
        return (), {}
    whole = [
        _oneof_required(oneof.name)
        for oneof in descriptor.oneofs
        if _options(oneof)[validate_pb2.required]
    ]
    by_number: dict[int, tuple[FieldCheck, ...]] = {}
    for field in descriptor.fields:
        rules: validate_pb2.FieldRules = _options(field)[validate_pb2.rules]
        if rules.message.skip:
            continue
        checks = tuple(_field_checks(field, rules))
        if checks:
            by_number[field.number] = checks
        whole.extend(_unset_checks(field, rules, checks))
    return tuple(whole), by_number


def _options(descriptor: Any) -> Any:
    """The extensions of a descriptor's options; their stubs do not know protobuf's own types."""
    return descriptor.GetOptions().Extensions


def _oneof_required(name: str) -> MessageCheck:
    def check(message: Any) -> None:
        if message.WhichOneof(name) is None:
            raise Rejected("", f"one of the fields of `{name}` must be set")

    return check


# ----------------------------------------------------------------- fields that are not set


def _unset_checks(
    field: FieldDescriptor, rules: validate_pb2.FieldRules, checks: tuple[FieldCheck, ...]
) -> list[MessageCheck]:
    """What an unset field breaks: it is required, or its default value is against its rules."""
    if field.has_presence:
        required = rules.message.required or rules.duration.required or rules.any.required
        # Inside a oneof the rule holds only for the member that is chosen, which is then there.
        if required and field.containing_oneof is None:
            return [_required(field.name)]
        return []
    default: Any = {} if field.is_repeated else field.default_value  # empty list or map
    found = []
    for check in checks:
        try:
            check(default)
        except Rejected as error:
            found.append(_not_default(field.name, error.why))
    return found


def _required(name: str) -> MessageCheck:
    def check(message: Any) -> None:
        if not message.HasField(name):
            raise Rejected(name, "is required")

    return check


def _not_default(name: str, why: str) -> MessageCheck:
    def check(message: Any) -> None:
        if not getattr(message, name):
            raise Rejected(name, why)

    return check


# ----------------------------------------------------------------- fields that are set


def _field_checks(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> list[FieldCheck]:
    kind: Any = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return _map_checks(kind, rules)
    if field.is_repeated:
        return _repeated_checks(field, rules)
    checks: list[FieldCheck] = []
    if (value_check := compile_value(rules, field)) is not None:
        checks.append(_scalar(value_check, kind is not None and kind.full_name in WRAPPERS))
    if kind is not None and kind.full_name not in LEAVES:
        checks.append(_validate)
    return checks


def _scalar(value_check: ValueCheck, wrapped: bool) -> FieldCheck:
    def check(value: Any) -> None:
        if (wrong := value_check(value.value if wrapped else value)) is not None:
            raise Rejected("", wrong)

    return check


def _repeated_checks(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> list[FieldCheck]:
    repeated = rules.repeated
    checks: list[FieldCheck] = []
    if (count := _count_check(repeated, "min_items", "max_items", "item")) is not None:
        checks.append(_scalar(count, wrapped=False))
    if repeated.unique:
        checks.append(_scalar(_unique, wrapped=False))
    if (item := compile_value(repeated.items, field)) is not None:
        checks.append(_each(item))
    kind = field.message_type
    if kind is not None and kind.full_name not in LEAVES:
        checks.append(_descend_each)
    return checks


def _map_checks(kind: Any, rules: validate_pb2.FieldRules) -> list[FieldCheck]:
    checks: list[FieldCheck] = []
    if (count := _count_check(rules.map, "min_pairs", "max_pairs", "pair")) is not None:
        checks.append(_scalar(count, wrapped=False))
    if (key := compile_value(rules.map.keys, None)) is not None:
        checks.append(_each(key))
    of_values = kind.fields_by_name["value"].message_type
    if of_values is not None and of_values.full_name not in LEAVES:
        checks.append(_descend_map)
    return checks


def _each(value_check: ValueCheck) -> FieldCheck:
    def check(values: Any) -> None:
        for index, value in enumerate(values):
            if (wrong := value_check(value)) is not None:
                raise Rejected(f"[{index}]", wrong)

    return check


def _descend_each(values: Any) -> None:
    for index, value in enumerate(values):
        try:
            _validate(value)
        except Rejected as error:
            raise error.below(f"[{index}]") from None


def _descend_map(values: Any) -> None:
    for key, value in values.items():
        try:
            _validate(value)
        except Rejected as error:
            raise error.below(f"[{key}]") from None


def _count_check(rules: Any, least: str, most: str, word: str) -> ValueCheck | None:
    low, high = getattr(rules, least), getattr(rules, most)
    bounded, ignore_empty = rules.HasField(most), rules.ignore_empty
    if not low and not bounded:
        return None

    def check(value: Any) -> str | None:
        count = len(value)
        if ignore_empty and not count:
            return None
        if count < low:
            return f"needs at least {low} {word}(s), has {count}"
        if bounded and count > high:
            return f"may have at most {high} {word}(s), has {count}"
        return None

    return check


def _unique(values: Any) -> str | None:
    seen = list(map(str, values))
    return "has the same item twice" if len(set(seen)) != len(seen) else None
