"""Decodes a format string of a body: text, or a JSON object whose strings are format strings."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from envoy.config.core.v3 import substitution_format_string_pb2

from proxy.config.decode_common import data_source, format_string, struct
from proxy.config.model import BodyFormat


def body_format(
    message: substitution_format_string_pb2.SubstitutionFormatString, path: str
) -> BodyFormat:
    """`message` must be checked; every format string in it is read."""
    kind = message.WhichOneof("format")
    content_type = message.content_type
    if kind == "json_format":
        fields = struct(message.json_format)
        check_json(fields, f"{path}.json_format")
        return BodyFormat(json_format=fields, content_type=content_type)
    text, where = message.text_format, f"{path}.text_format"
    if kind == "text_format_source":
        where = f"{path}.text_format_source"
        # A body may be any bytes; what is not UTF-8 comes out as it went in.
        text = data_source(message.text_format_source, where).data.decode(
            "utf-8", "surrogateescape"
        )
    return BodyFormat(format_string(text, where), content_type=content_type)


def check_json(value: Any, path: str, brought: Set[str] = frozenset()) -> None:
    """Raises Rejected for the first string inside that is no format string."""
    if isinstance(value, str):
        format_string(value, path, brought)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            check_json(inner, f"{path}.{name}", brought)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            check_json(inner, f"{path}[{at}]", brought)
