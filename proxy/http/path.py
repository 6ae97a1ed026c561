"""Paths made canonical before they are matched, so that no two spellings get past one rule.

Envoy's `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action`; RFC 3986, 6.
Functions of bytes; the query is never touched.
"""

from __future__ import annotations

import re

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNSAFE = re.compile(rb"[\x00-\x20\"<>^`{|}\x7f-\xff]")
_DOTS_WITH_PARAMETERS = re.compile(rb"(/\.\.?);[^/]*")
_ESCAPED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_SLASHES = re.compile(rb"//+")


def split(path: bytes) -> tuple[bytes, bytes]:
    """The path, and the query with its '?'."""
    at = path.find(b"?")
    return (path, b"") if at < 0 else (path[:at], path[at:])


def canonical(path: bytes) -> bytes:
    """Dot segments resolved, needless escapes undone, needed ones made, `\\` taken for `/`.

    A dot segment may carry parameters (RFC 3986 section 3.3): servers that drop them would go up
    where no rule has seen it (CVE-2026-73511). Envoy looks for them before it undoes escapes.
    """
    bare, query = split(path)
    if b";" in bare:
        bare = _DOTS_WITH_PARAMETERS.sub(rb"\1", bare)
    if b"%" in bare:
        bare = _ESCAPE.sub(_unescape, bare)
    bare = bare.replace(b"\\", b"/")
    if b"/." in bare:
        bare = _resolve_dots(bare)
    return _UNSAFE.sub(_escape, bare) + query


def merge_slashes(path: bytes) -> bytes:
    bare, query = split(path)
    return _SLASHES.sub(b"/", bare) + query


def has_escaped_slash(path: bytes) -> bool:
    return _ESCAPED_SLASH.search(split(path)[0]) is not None


def has_escaped_nul(path: bytes) -> bool:
    """No canonical path has one: a program in C would see the path end there."""
    return b"%00" in split(path)[0]


def unescape_slashes(path: bytes) -> bytes:
    bare, query = split(path)
    return _ESCAPED_SLASH.sub(_slash, bare) + query


def _unescape(found: re.Match[bytes]) -> bytes:
    code = int(found[1], 16)
    return bytes((code,)) if code in _UNRESERVED else found[0]


def _escape(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _slash(found: re.Match[bytes]) -> bytes:
    return b"/" if found[0].lower() == b"%2f" else b"\\"


def _resolve_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4; going above the root stays at the root."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
