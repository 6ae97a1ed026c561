"""Decodes matchers of metadata."""

from __future__ import annotations

from envoy.type.matcher.v3 import metadata_pb2, value_pb2

from proxy.config.decode_matchers import string_matcher
from proxy.config.model.metadata import MetadataMatcher, ValueMatcher


def metadata_matcher(message: metadata_pb2.MetadataMatcher, path: str) -> MetadataMatcher:
    return MetadataMatcher(
        message.filter,
        tuple(segment.key for segment in message.path),
        _value(message.value, f"{path}.value"),
        message.invert,
    )


def _value(message: value_pb2.ValueMatcher, path: str) -> ValueMatcher:
    """PGV has seen to it that one of the patterns is set."""
    kind = message.WhichOneof("match_pattern")
    if kind == "string_match":
        string = string_matcher(message.string_match, f"{path}.string_match")
        return ValueMatcher("string", string=string)
    if kind == "double_match":
        number = message.double_match
        if number.WhichOneof("match_pattern") == "exact":
            return ValueMatcher("exact", numbers=(number.exact, number.exact))
        return ValueMatcher("range", numbers=(number.range.start, number.range.end))
    if kind == "bool_match":
        return ValueMatcher("bool", boolean=message.bool_match)
    if kind == "present_match":
        return ValueMatcher("present", boolean=message.present_match)
    if kind == "list_match":
        one_of = _value(message.list_match.one_of, f"{path}.list_match.one_of")
        return ValueMatcher("list", inner=(one_of,))
    if kind == "or_match":
        where = f"{path}.or_match.value_matchers"
        each = message.or_match.value_matchers
        return ValueMatcher(
            "or", inner=tuple(_value(m, f"{where}[{i}]") for i, m in enumerate(each))
        )
    return ValueMatcher("null")
