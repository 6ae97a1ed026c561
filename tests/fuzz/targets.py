"""What can be fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from tests.fuzz import h1, h2, hpack


@dataclass(frozen=True, slots=True)
class Target:
    """check(data, at): AssertionError for a disagreement, anything else raised is a crash; answers
    what kind of answer it was."""

    check: Callable[[bytes, int], Hashable]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]


TARGETS = {
    "h1": Target(h1.check, h1.REQUESTS + h1.RESPONSES, h1.WORDS),
    "h2": Target(h2.check, h2.SEEDS, h2.WORDS),
    "hpack": Target(hpack.check, hpack.SEEDS, hpack.WORDS),
}
