"""protoc-gen-validate: what Envoy refuses by the rules inside its proto files, we refuse too.

The rules are options of the descriptors; each message type is compiled once into a tuple of
checks. An `Any` is not opened here: whoever unpacks it validates what was inside. A kind of rule
that is not known here fails when the type is compiled, never in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from validate import validate_pb2

from proxy.config.pgv_rules import ValueCheck, compile_value
from proxy.config.rejected import Rejected, at

MessageCheck = Callable[[Any, str], None]

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
    """Raises Rejected at the first field, depth first, that breaks one of its type's rules."""
    for check in _checks(message.DESCRIPTOR):
        check(message, path)


@cache
def _checks(descriptor: Descriptor) -> tuple[MessageCheck, ...]:
    options = _options(descriptor)
    if options[validate_pb2.disabled] or options[validate_pb2.ignored]:
        return ()
    checks: list[MessageCheck] = [
        _oneof_required(oneof.name)
        for oneof in descriptor.oneofs
        if _options(oneof)[validate_pb2.required]
    ]
    for field in descriptor.fields:
        checks.extend(_field_checks(field))
    return tuple(checks)


def _options(descriptor: Any) -> Any:
    """The extensions of a descriptor's options; their stubs do not know protobuf's own types."""
    return descriptor.GetOptions().Extensions


def _oneof_required(name: str) -> MessageCheck:
    def check(message: Any, path: str) -> None:
        if message.WhichOneof(name) is None:
            raise Rejected(path, f"one of the fields of `{name}` must be set")

    return check


def _field_checks(field: FieldDescriptor) -> list[MessageCheck]:
    rules: validate_pb2.FieldRules = _options(field)[validate_pb2.rules]
    if rules.message.skip:
        return []
    if _is_map(field):
        return _map_checks(field, rules)
    if field.is_repeated:
        return _repeated_checks(field, rules)
    checks: list[MessageCheck] = []
    if field.message_type is not None:
        required = rules.message.required or rules.duration.required or rules.any.required
        # Inside a oneof the rule holds only for the member that is chosen, which is then there.
        if required and field.containing_oneof is None:
            checks.append(_required(field.name))
        if field.message_type.full_name not in LEAVES:
            checks.append(_descend(field.name))
    if (value_check := compile_value(rules, field)) is not None:
        checks.append(_scalar(field, value_check))
    return checks


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _required(name: str) -> MessageCheck:
    def check(message: Any, path: str) -> None:
        if not message.HasField(name):
            raise Rejected(at(path, name), "is required")

    return check


def _descend(name: str) -> MessageCheck:
    def check(message: Any, path: str) -> None:
        if message.HasField(name):
            validate(getattr(message, name), at(path, name))

    return check


def _scalar(field: FieldDescriptor, value_check: ValueCheck) -> MessageCheck:
    name = field.name
    wrapped = field.message_type is not None and field.message_type.full_name in WRAPPERS
    presence = field.has_presence

    def check(message: Any, path: str) -> None:
        # A oneof's member or a message is judged only when it is set; a plain scalar always.
        if presence and not message.HasField(name):
            return
        value = getattr(message, name)
        if (wrong := value_check(value.value if wrapped else value)) is not None:
            raise Rejected(at(path, name), wrong)

    return check


def _repeated_checks(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> list[MessageCheck]:
    name, repeated = field.name, rules.repeated
    checks: list[MessageCheck] = []
    if (count := _count_check(repeated, "min_items", "max_items", "item")) is not None:
        checks.append(_whole(name, count))
    if repeated.unique:
        checks.append(_whole(name, _unique))
    if (item := compile_value(repeated.items, field)) is not None:
        checks.append(_each(name, item))
    kind = field.message_type
    if kind is not None and kind.full_name not in LEAVES:
        checks.append(_descend_each(name))
    return checks


def _map_checks(field: Any, rules: validate_pb2.FieldRules) -> list[MessageCheck]:
    name = field.name
    checks: list[MessageCheck] = []
    if (count := _count_check(rules.map, "min_pairs", "max_pairs", "pair")) is not None:
        checks.append(_whole(name, count))
    if (key := compile_value(rules.map.keys, None)) is not None:
        checks.append(_each(name, key))
    value_type = field.message_type.fields_by_name["value"].message_type
    if value_type is not None and value_type.full_name not in LEAVES:
        checks.append(_descend_map(name))
    return checks


def _whole(name: str, value_check: ValueCheck) -> MessageCheck:
    def check(message: Any, path: str) -> None:
        if (wrong := value_check(getattr(message, name))) is not None:
            raise Rejected(at(path, name), wrong)

    return check


def _each(name: str, value_check: ValueCheck) -> MessageCheck:
    def check(message: Any, path: str) -> None:
        for index, value in enumerate(getattr(message, name)):
            if (wrong := value_check(value)) is not None:
                raise Rejected(f"{at(path, name)}[{index}]", wrong)

    return check


def _descend_each(name: str) -> MessageCheck:
    def check(message: Any, path: str) -> None:
        for index, value in enumerate(getattr(message, name)):
            validate(value, f"{at(path, name)}[{index}]")

    return check


def _descend_map(name: str) -> MessageCheck:
    def check(message: Any, path: str) -> None:
        for key, value in getattr(message, name).items():
            validate(value, f"{at(path, name)}[{key}]")

    return check


def _count_check(rules: Any, least: str, most: str, word: str) -> ValueCheck | None:
    low, high = getattr(rules, least), getattr(rules, most)
    if not low and not rules.HasField(most):
        return None
    ignore_empty = rules.ignore_empty

    def check(value: Any) -> str | None:
        count = len(value)
        if ignore_empty and not count:
            return None
        if count < low:
            return f"needs at least {low} {word}(s), has {count}"
        if rules.HasField(most) and count > high:
            return f"may have at most {high} {word}(s), has {count}"
        return None

    return check


def _unique(values: Any) -> str | None:
    seen = list(values)
    return "has the same item twice" if len(set(map(str, seen))) != len(seen) else None
