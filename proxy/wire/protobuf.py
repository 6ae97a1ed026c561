"""Fields of protobuf messages as bytes: for what is told of each request.

Messages and objects of protobuf cost more than the request they would tell of; here a message is
the join of its fields, in any order. Knows no message: who writes one knows the numbers of its
fields. Reading is `config`'s and `xds`' business, by the real library.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from struct import pack
from typing import Any, Final

_VARINT: Final = 0
_LENGTH_DELIMITED: Final = 2
_MOST_OF_TWO_BYTES: Final = 0x4000
MAX_DEPTH: Final = 24
"""Of a `Struct`: each level is three messages, and readers take a hundred in each other."""
NANOS: Final = 1_000_000_000
_ONE_BYTE: Final = [bytes((value,)) for value in range(0x80)]


def _exclaim(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError), "it is used for decoding only"
    return "!" * (error.end - error.start), error.end


codecs.register_error("weft.exclaim", _exclaim)


def varint(value: int) -> bytes:
    """value: 0 or more."""
    if value < 0x80:
        return _ONE_BYTE[value]
    if value < _MOST_OF_TWO_BYTES:
        return bytes((value & 0x7F | 0x80, value >> 7))
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def number_key(field: int) -> bytes:
    """What stands before a number, a flag or a value of an enumeration."""
    return varint(field << 3 | _VARINT)


def data_key(field: int) -> bytes:
    """What stands before a string or a message."""
    return varint(field << 3 | _LENGTH_DELIMITED)


def number(key: bytes, value: int) -> bytes:
    """Nothing for 0, which is what is not there (proto3)."""
    return key + varint(value) if value else b""


def data(key: bytes, value: bytes) -> bytes:
    """A message, which may be empty and yet there."""
    return key + varint(len(value)) + value


def text(key: bytes, value: bytes) -> bytes:
    """A string; nothing if it is empty."""
    if not value:
        return b""
    if not value.isascii():
        value = readable(value)
    return key + varint(len(value)) + value


def readable(value: bytes) -> bytes:
    """UTF-8, which strings must be: each byte that is none is '!', as in Envoy."""
    return value.decode("utf-8", "weft.exclaim").encode()


def words(key: bytes, value: str) -> bytes:
    return text(key, value.encode("utf-8", "replace"))


_SECONDS: Final = number_key(1)
_NANOS: Final = number_key(2)


def time(key: bytes, seconds: float) -> bytes:
    """A `Timestamp` or a `Duration`, 0 or more."""
    nanos = int(seconds * NANOS)
    return data(key, number(_SECONDS, nanos // NANOS) + number(_NANOS, nanos % NANOS))


# --------------------------------------------------------------------------- Struct

_FIELDS: Final = data_key(1)
_NAME: Final = data_key(1)
_VALUE: Final = data_key(2)
_NULL: Final = number_key(1) + b"\0"
_NUMBER: Final = varint(2 << 3 | 1)
_STRING: Final = data_key(3)
_TRUTH: Final = number_key(4)
_OBJECT: Final = data_key(5)
_LIST: Final = data_key(6)
_ITEMS: Final = data_key(1)


def entry(key: bytes, name: str, value: bytes) -> bytes:
    """Of a map from strings to messages or strings."""
    named = words(_NAME, name)
    return data(key, named + data(_VALUE, value))


def struct(values: Mapping[str, Any], depth: int = 0) -> bytes:
    """A `google.protobuf.Struct`. What lies deeper than `MAX_DEPTH` is null: who logs a stranger's
    words must not lose what is told beside them."""
    pairs = [(str(name), _value(each, depth)) for name, each in values.items()]
    return b"".join([entry(_FIELDS, name, each) for name, each in pairs])


def _value(value: Any, depth: int) -> bytes:
    if value is None or depth >= MAX_DEPTH:
        return _NULL
    if isinstance(value, bool):
        return _TRUTH + (b"\1" if value else b"\0")
    if isinstance(value, int | float):
        return _NUMBER + pack("<d", value)
    if isinstance(value, Mapping):
        return data(_OBJECT, struct(value, depth + 1))
    if isinstance(value, list | tuple):
        return data(_LIST, b"".join([data(_ITEMS, _value(each, depth + 1)) for each in value]))
    found = readable(value) if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return data(_STRING, found)
