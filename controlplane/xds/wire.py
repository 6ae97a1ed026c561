"""Responses put together from bytes that were encoded once.

Protobuf messages concatenate, so a response is its parts one after another and the cost per
stream is one join. It knows nothing of streams or subscriptions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from controlplane.resources import Resource

_REMEMBERED = 16
"""Responses whose bytes are kept for other streams."""

_RESOURCES = 16_384
"""Resources of which that is so: two of each port of a few thousand services."""


@dataclass(slots=True)
class Push:
    """One response to write: its contents, named for tests, status and logs, and its bytes in
    parts, of which the large one is many streams'. It never changes; frozen it would take four
    times as long to make."""

    type_url: str
    nonce: str
    version: str
    names: tuple[str, ...]
    removed: tuple[str, ...] = ()
    parts: tuple[bytes, ...] = dataclasses.field(default=(), repr=False)

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


def sotw_push(type_url: str, nonce: str, version: str, resources: Iterable[Resource]) -> Push:
    """A DiscoveryResponse: version_info 1, resources 2, type_url 4, nonce 5."""
    names, shared = _sotw(type_url, tuple(resources))
    return Push(type_url, nonce, version, names, (), (_text(1, version), shared, _text(5, nonce)))


def delta_push(
    type_url: str, nonce: str, version: str, resources: Iterable[Resource], removed: Iterable[str]
) -> Push:
    """A DeltaDiscoveryResponse: system_version_info 1, resources 2, type_url 4, nonce 5,
    removed_resources 6. Only the version and the nonce are a stream's own."""
    items, gone = tuple(resources), tuple(removed)
    names, shared = _delta(type_url, items, gone)
    return Push(type_url, nonce, version, names, gone, (_text(1, version), shared, _text(5, nonce)))


@lru_cache(_REMEMBERED)
def _sotw(type_url: str, items: tuple[Resource, ...]) -> tuple[tuple[str, ...], bytes]:
    """As `_delta`."""
    parts = [field(2, item.body) for item in items]
    parts.append(_text(4, type_url))
    return tuple(item.name for item in items), b"".join(parts)


@lru_cache(_REMEMBERED)
def _delta(
    type_url: str, items: tuple[Resource, ...], gone: tuple[str, ...]
) -> tuple[tuple[str, ...], bytes]:
    """The names of the resources, and the part of a response that all streams have alike."""
    parts = list(map(_delta_resource, items))
    parts.append(_text(4, type_url))
    parts += [_text(6, name) for name in gone]
    return tuple(item.name for item in items), b"".join(parts)


@lru_cache(_RESOURCES)
def _delta_resource(item: Resource) -> bytes:
    """The field with a discovery.v3.Resource: version 1, resource 2, name 3, aliases 4."""
    body = field(2, item.body) if item.body else b""
    aliases = b"".join(_text(4, alias) for alias in item.aliases)
    return field(2, _text(1, item.version) + body + _text(3, item.name) + aliases)


def _text(number: int, value: str) -> bytes:
    return field(number, value.encode())


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field (wire type 2)."""
    size = len(value)
    if size < 0x80:
        return bytes((number << 3 | 2, size)) + value
    return bytes((number << 3 | 2,)) + _varint(size) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
