"""Header blocks that differ from an earlier one in their literal values only.

While the dynamic table stands still, an encoder writes messages of one kind with the same bytes but
for lengths and literal values. A `Template` knows those bytes, so that each is compared once with
what came, and only the values are cut out. Which are the same must be known from somebody who has
decoded such a block (`template_of`); a template is worth nothing once the table has changed.
"""

from __future__ import annotations

from proxy.http.h2.huffman import decode_all
from proxy.http.h2.integers import long_string, read_integer

LONG = 127  # a length of so much or more has more than one byte


class Template:
    """names: of the whole block; the same object for each block that is read."""

    __slots__ = ("_literals", "_tail", "_values", "names")

    def __init__(self, block: bytes, names: list[bytes], values: list[bytes]) -> None:
        """block: without a change of the table's size."""
        self.names = names
        self._values = values
        # Of each literal value: what is before its length, how long that is, its place.
        self._literals: list[tuple[bytes, int, int]] = []
        start = at = 0
        for place in range(len(names)):
            first = block[at]
            index, at = read_integer(block, at, 7 if first > 127 else 6 if first > 63 else 4)
            if first > 127:
                continue
            if not index:
                at = _behind(block, at)
            self._literals.append((block[start:at], at - start, place))
            start = at = _behind(block, at)
        self._tail = block[start:]

    def read(self, block: bytes) -> list[bytes] | None:
        """The values of another block; None if it differs in more. IndexError if it ends early."""
        values = self._values.copy()
        coded: list[bytes] = []
        holes: list[int] = []
        end = 0
        for before, size, place in self._literals:
            if not block.startswith(before, end):
                return None
            start = end + size + 1
            length = block[start - 1]
            if length < LONG:
                end = start + length
                values[place] = block[start:end]
                continue
            end = start + (length & LONG)
            if length & LONG == LONG:
                start, end = long_string(block, start)
            if length == LONG:
                values[place] = block[start:end]
            else:
                coded.append(block[start:end])
                holes.append(place)
        if block[end:] != self._tail or len(block) != end + len(self._tail):
            return None
        if coded:
            for place, value in zip(holes, decode_all(coded), strict=True):
                values[place] = value
        return values


def _behind(block: bytes, at: int) -> int:
    """Where the string literal at `at` ends."""
    length, at = read_integer(block, at, 7)
    return at + length
