"""What can be fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from tests.fuzz import h1, h2, hpack


@dataclass(frozen=True, slots=True)
class Target:
    """check(data, at): AssertionError for a disagreement, anything else raised is a crash; answers
    what kind of answer it was. `modules` are what coverage is measured of."""

    check: Callable[[bytes, int], Hashable]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    modules: str


TARGETS = {
    "h1": Target(h1.check, h1.REQUESTS + h1.RESPONSES, h1.WORDS, "proxy.http.h1"),
    "h2": Target(h2.check, h2.SEEDS, h2.WORDS, "proxy.http.h2"),
    "hpack": Target(hpack.check, hpack.SEEDS, hpack.WORDS, "proxy.http.h2"),
}
