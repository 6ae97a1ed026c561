"""What may stand in a header's value. For values that are made of what a peer has chosen; those
that came in a message were judged by whoever read it."""

from __future__ import annotations

import re

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def is_field_value(value: bytes) -> bool:
    """RFC 9110 section 5.5: no control characters but tabs. With a line end in it one header would
    be written as two, or end the head."""
    return _CONTROL.search(value) is None
