"""How long to wait after failures: exponential with jitter, as client-go's reflectors. Pure."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.25
CEILING_S = 30.0


class Backoff:
    """chance: a number from 0 to 1, at random."""

    __slots__ = ("_chance", "failures")

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self.failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """After one more failure; at_least_s: what the server asks for, never more than twice the
        ceiling."""
        base = min(FIRST_S * 2.0**self.failures, CEILING_S)
        self.failures = min(self.failures + 1, 32)
        return max(min(at_least_s, 2 * CEILING_S), base * (0.5 + self._chance() / 2))

    def reset(self) -> None:
        self.failures = 0
