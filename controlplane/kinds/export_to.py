"""exportTo: in which namespaces an object counts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controlplane.kinds.decoders import DNS_LABEL

PUBLIC = "*"
PRIVATE = "."
NOBODY = "~"


def export_faults(export_to: tuple[str, ...], nobody: bool = False) -> Iterator[tuple[str, str]]:
    """For `check`: namespaces, '.' for the object's own, '*' for all or, where `nobody` says so,
    '~' for none; each once, and the last two alone."""
    for index, value in enumerate(export_to):
        words = (PUBLIC, PRIVATE, *((NOBODY,) if nobody else ()))
        where = f"exportTo[{index}]"
        if value not in words and not re.fullmatch(DNS_LABEL, value):
            choice = ", ".join(map(repr, words))
            yield where, f"expected a namespace or one of {choice}, got {value!r}"
        if value in export_to[:index]:
            yield where, f"{value!r} is given twice"
        if value in (PUBLIC, NOBODY) and len(export_to) > 1:
            yield where, f"{value!r} stands alone"


def namespaces_of(export_to: tuple[str, ...], own: str) -> tuple[str, ...] | None:
    """The namespaces, sorted, of an object in the namespace `own`; None for every one."""
    if not export_to or PUBLIC in export_to:
        return None
    return tuple(sorted({own if name == PRIVATE else name for name in export_to} - {NOBODY}))
