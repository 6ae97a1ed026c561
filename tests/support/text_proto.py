"""Protobuf's text format where the message type is not ours: fields found by name."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING = r'"((?:[^"\\]|\\.)*)"'
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.)", re.S)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def strings(text: str, field: str) -> Iterator[bytes]:
    """The values of every string field of that name, wherever it stands."""
    for found in re.finditer(rf"\b{field}: *{_STRING}", text):
        yield unescaped(found[1])


def pairs(text: str) -> Iterator[tuple[bytes, bytes]]:
    """Every `key: "..." value: "..."`; a key alone has the empty value."""
    for found in re.finditer(rf"\bkey: *{_STRING}(?:\s+value: *{_STRING})?", text):
        yield unescaped(found[1]), unescaped(found[2] or "")


def unescaped(text: str) -> bytes:
    """The bytes that a quoted string of the text format stands for."""
    return _ESCAPE.sub(_unescape, text.encode("utf-8", "surrogateescape"))


def _unescape(found: re.Match[bytes]) -> bytes:
    word = found[1]
    if word[:1] in b"01234567":
        return bytes([int(word, 8) & 255])
    if word[:1] in b"xX" and len(word) > 1:
        return bytes([int(word[1:], 16)])
    return _NAMED.get(word, word)


def block(text: str, field: str) -> str | None:
    """What stands between the braces of the first field `field { ... }`; None without one."""
    found = re.search(rf"^\s*{field}:? *\{{", text, re.M)
    if found is None:
        return None
    depth, at = 1, found.end()
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[{}]', text[found.end() :]):
        if token[0] in "{}":
            depth += 1 if token[0] == "{" else -1
        if not depth:
            at += token.start()
            return text[found.end() : at]
    return None
