"""Decodes `envoy.filters.http.set_filter_state`."""

from __future__ import annotations

from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, format_string, parse
from proxy.config.fields import UNSUPPORTED
from proxy.config.rejected import Rejected

TYPE_URL = PREFIX + set_filter_state_pb2.Config.DESCRIPTOR.full_name
FACTORY = "envoy.string"


@frozen
class Entry:
    """value: a format string."""

    key: str
    value: str
    skips_empty: bool


@frozen
class SetFilterStateConfig:
    entries: tuple[Entry, ...]


def decode(value: bytes, path: str) -> SetFilterStateConfig:
    message = parse(set_filter_state_pb2.Config, value, path)
    entries = []
    for i, each in enumerate(message.on_request_headers):
        where = f"{path}.on_request_headers[{i}]"
        factory = each.factory_key or each.object_key
        if factory != FACTORY:
            raise Rejected(f"{where}.factory_key", f"`{factory}` is {UNSUPPORTED} (only {FACTORY})")
        kind = each.format_string.WhichOneof("format")
        if kind == "text_format":
            text = each.format_string.text_format
        elif kind == "text_format_source":
            text = each.format_string.text_format_source.inline_string
        else:
            raise Rejected(f"{where}.format_string", f"another format than text is {UNSUPPORTED}")
        text = format_string(text, f"{where}.format_string")
        entries.append(Entry(each.object_key, text, each.skip_if_empty))
    return SetFilterStateConfig(tuple(entries))
