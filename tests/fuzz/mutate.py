"""Inputs out of inputs: bytes changed, words put in, pieces taken out, doubled and exchanged.

Guided a little: an input that made its target answer as none before is a seed from then on.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random

MAX_INPUT_BYTES = 4096
MAX_SEEDS = 4000
EDGES = (0, 1, 9, 10, 13, 32, 58, 127, 128, 255)


class Mutator:
    """`seeds` are whole inputs, `words` what the format is made of."""

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes], random: Random) -> None:
        self.seeds = list(seeds)
        self._words = words
        self._random = random
        self._seen: set[Hashable] = set()
        self._moves = (self._flip, self._put, self._cut, self._double, self._splice, self._edge)

    def next(self) -> bytes:
        """A seed after one to four changes."""
        random = self._random
        data = bytearray(random.choice(self.seeds))
        for _ in range(random.randint(1, 4)):
            random.choice(self._moves)(data)
        return bytes(data[:MAX_INPUT_BYTES])

    def learn(self, data: bytes, answer: Hashable) -> None:
        """Keeps what gave an answer that is new."""
        if answer not in self._seen and len(self.seeds) < MAX_SEEDS:
            self._seen.add(answer)
            self.seeds.append(data)

    def _at(self, data: bytearray) -> int:
        return self._random.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _edge(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.choice(EDGES)

    def _put(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._random.choice(self._words)

    def _cut(self, data: bytearray) -> None:
        at = self._at(data)
        del data[at : at + self._random.choice((1, 1, 2, 4, 16, 64))]

    def _double(self, data: bytearray) -> None:
        at = self._at(data)
        piece = data[at : at + self._random.choice((1, 4, 16, 64, 256))]
        data[at:at] = piece

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self.seeds)
        start = self._random.randrange(len(other) + 1)
        data[self._at(data) :] = other[start:]
