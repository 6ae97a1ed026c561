"""Decodes `envoy.filters.http.set_metadata`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.extensions.filters.http.set_metadata.v3 import set_metadata_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, parse, struct

TYPE_URL = PREFIX + set_metadata_pb2.Config.DESCRIPTOR.full_name


@frozen
class Entry:
    """overwrites: merged into what is there; else only where nothing is."""

    namespace: str
    value: Mapping[str, Any]
    overwrites: bool


@frozen
class SetMetadataConfig:
    entries: tuple[Entry, ...]


def decode(value: bytes, path: str) -> SetMetadataConfig:
    """The old way to say it, one namespace in the message itself, merges."""
    message = parse(set_metadata_pb2.Config, value, path)
    entries = [
        Entry(each.metadata_namespace, struct(each.value), each.allow_overwrite)
        for each in message.metadata
    ]
    if message.HasField("value") and message.metadata_namespace:
        entries.insert(0, Entry(message.metadata_namespace, struct(message.value), True))
    return SetMetadataConfig(tuple(entries))
