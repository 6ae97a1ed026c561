"""Replaces what a regular expression matches, with RE2's rules for the text that takes its place.

`\\\\1` is a group and `\\\\0` the whole match. A group that the expression does not have means that
nothing is replaced; what follows a backslash that means nothing is left out (RE2::GlobalReplace).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.config.model import RegexRewrite
from proxy.http.regex import compiled

Substitute = Callable[[bytes], bytes]
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
_DIGITS = b"0123456789"


def substitute(rewrite: RegexRewrite) -> Substitute:
    pattern = compiled(rewrite.pattern)
    parts = _parts(rewrite.substitution.encode())
    if any(isinstance(part, int) and part > pattern.groups for part in parts):
        return lambda text: text
    search = pattern.search

    def apply(text: bytes) -> bytes:
        out: list[bytes] = []
        at, last_end = 0, -1
        while at <= len(text):
            found = search(text, at)
            if found is None:
                break
            start, end = found.span()
            out.append(text[at:start])
            if start == end == last_end:  # no empty match right behind another one
                out.append(text[start : start + 1])
                at = start + 1
                continue
            out += [part if isinstance(part, bytes) else found[part] or b"" for part in parts]
            at = last_end = end
        out.append(text[at:])
        return b"".join(out)

    return apply


def _parts(text: bytes) -> list[bytes | int]:
    """Literal bytes and numbers of groups."""
    parts: list[bytes | int] = []
    at = 0
    for found in _ESCAPE.finditer(text):
        parts.append(text[at : found.start()])
        escaped = found[1]
        if escaped == b"\\":
            parts.append(b"\\")
        elif escaped and escaped in _DIGITS:
            parts.append(int(escaped))
        else:
            return parts
        at = found.end()
    parts.append(text[at:])
    return parts
