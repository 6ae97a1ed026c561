"""A span, and the identity by which those of one trace find each other.

Knows no request and no collector: others say what happened, and encode it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["SERVER", "CLIENT"]
TRACE_BITS, SPAN_BITS = 128, 64
_OWN_BYTES, _TEXT_BYTES = 512, 16


@dataclass(frozen=True, slots=True)
class Parent:
    """Who calls: identities in hexadecimal digits of lower case. sampled: None leaves it to us.
    state: what vendors pass along. grandparent: its own parent, '' if it does not say."""

    trace_id: str
    span_id: str
    sampled: bool | None
    state: bytes = b""
    grandparent: str = ""


class Span:
    """started, ended: seconds since the epoch; ended is 0.0 before. failed: the operation went
    wrong (None: nothing is said). parent_id: '' for the first of a trace. shared: with
    the client, who tells of its half under the same identity."""

    __slots__ = (
        "ended", "events", "failed", "kind", "name", "parent_id", "sampled", "shared", "span_id",
        "started", "state", "tags", "trace_id",
    )  # fmt: skip

    def __init__(self, name: str, kind: Kind, random: Random, parent: Parent | None) -> None:
        self.name = name
        self.kind = kind
        self.started = 0.0
        self.ended = 0.0
        self.span_id = f"{random.getrandbits(SPAN_BITS) or 1:016x}"
        self.trace_id = ""
        self.parent_id = ""
        self.state = b""
        self.sampled = False
        self.shared = False
        self.failed: bool | None = None
        self.tags: dict[str, str] = {}
        self.events: list[tuple[float, str]] = []
        if parent is None:
            self.trace_id = f"{random.getrandbits(TRACE_BITS) or 1:032x}"
        else:
            self.trace_id, self.parent_id = parent.trace_id, parent.span_id
            self.state = parent.state

    def size_bytes(self) -> int:
        """About, with all that is said of it; whatever it is encoded to is not much longer."""
        texts = [self.name, *self.tags, *self.tags.values(), *(what for _, what in self.events)]
        return _OWN_BYTES + len(self.state) + sum(map(_size_bytes, texts))


def _size_bytes(text: str) -> int:
    """In memory; no character takes more than four bytes."""
    return _TEXT_BYTES + (len(text) if text.isascii() else 4 * len(text))
