"""Regular expressions as Envoy has them: RE2 over bytes, each of which is one character."""

from __future__ import annotations

from typing import Any


def compiled(pattern: str) -> Any:
    """RE2's own object, for bytes; re2.error for what it does not take. RE2 is loaded at first
    use: only who uses a regex pays for the library."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode(), options)
