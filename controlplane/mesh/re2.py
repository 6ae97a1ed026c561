"""RE2, the regular expressions of Istio and Envoy: how plain text is written in them."""

from __future__ import annotations

import re

_META = re.compile(r"([\\.+*?()|\[\]{}^$])")


def quoted(text: str) -> str:
    """Matches `text` and nothing else (Go's QuoteMeta)."""
    return _META.sub(r"\\\1", text)
