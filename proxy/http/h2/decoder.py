"""HPACK decoding (RFC 7541): a block in, names and values out; one decoder per connection.

`decode` has two ways. The quick one walks over the representations once, notes which strings are
Huffman-coded and has them decoded together at the end, for that costs a fraction of decoding each
alone. So entries of the dynamic table stand there for a moment without their value, and what must
leave the table leaves it at the end. Where that could make a difference, or where anything is
unusual (big numbers, table size updates, errors), the table is put back as it was and the strict
way decodes the block in the order of the RFC. Tests hold the two against each other.

It judges no name and no meaning; `tainted` says that a value held a byte that no field may have.
"""

from __future__ import annotations

import re
from typing import Any

from proxy.http.h2.errors import BadBlock
from proxy.http.h2.huffman import decode_all
from proxy.http.h2.integers import long_string, read_integer, read_string
from proxy.http.h2.static import ENTRIES, FIRST_DYNAMIC
from proxy.http.h2.template import Template

ENTRY_OVERHEAD = 32  # RFC 7541 section 4.1
DEFAULT_TABLE_BYTES = 4096
MAX_TEMPLATES = 8
MAX_TEMPLATE_BYTES = 4096
MAX_PAUSE = 64
MAX_KNOWN_BLOCKS = 16
MAX_KNOWN_BLOCK_BYTES = 256

# What a field value may hold: no control character but the tab (RFC 9113 section 8.2.1), no DEL
# (Envoy).
_VALUE_BYTES = bytes([9, *range(32, 127), *range(128, 256)])

Decoded = tuple[list[bytes], list[bytes]]
# Names and values of the table stand where the byte that is their index (section 6.1) says.
_INDEXED = 0x80
_FIRST = _INDEXED + FIRST_DYNAMIC
_NAMES: list[bytes] = [b""] * (_INDEXED + 1) + [name for name, _ in ENTRIES]
_VALUES: list[Any] = [b""] * (_INDEXED + 1) + [value for _, value in ENTRIES]
_run_of_indices = re.compile(rb"[\x81-\xfe]+").match

_MAX_KNOWN_NAMES = 1024
_MAX_KNOWN_NAME_BYTES = 64
# Names by their length byte and what follows, so that equal names are one object, hashed once.
_known_names: dict[bytes, bytes] = {}


class _Unusual(Exception):
    """The quick way gives up."""


class Decoder:
    """table_bytes: what our SETTINGS_HEADER_TABLE_SIZE says. After a block, `size` are the bytes of
    its values, and `tainted` says that one of them is in no value allowed."""

    __slots__ = (
        "_known", "_limit", "_names", "_pause", "_size", "_still", "_table_bytes", "_templates",
        "_values", "_wait", "size", "tainted",
    )  # fmt: skip

    def __init__(self, table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        self._table_bytes = table_bytes
        # Until the encoder says what it will use: it may begin before it knows of our settings.
        self._limit = DEFAULT_TABLE_BYTES
        self._size = 0
        # All entries: the static ones, then ours from the newest to the oldest. A value is None for
        # the moment until its Huffman string is decoded.
        self._names = _NAMES.copy()
        self._values = _VALUES.copy()
        # By how blocks begin; only while the table stands still. One is made after `_wait` blocks
        # that no template could read, so that making them in vain costs little.
        self._templates: dict[bytes, Template] = {}
        self._wait = self._pause = 1
        # Blocks that came lately, also only while the table stands still: answers are often alike.
        self._known: dict[bytes, tuple[list[bytes], list[bytes], int]] = {}
        self._still = True  # the table, in this block
        self.size = 0
        self.tainted = False

    def decode(self, block: bytes) -> Decoded:
        """Names and values, to be read only. Raises BadBlock, after which the decoder can't be used
        any more."""
        known = self._known.get(block)
        if known is not None:
            names, values, self.size = known
            self.tainted = False
            return names, values
        self._still = True
        names, values = self._read(block)
        joined = b"".join(values)
        self.size = len(joined)
        if joined.translate(None, _VALUE_BYTES):
            self.tainted = True
            return names, values
        self.tainted = False
        if self._still and len(block) <= MAX_KNOWN_BLOCK_BYTES:
            if len(self._known) >= MAX_KNOWN_BLOCKS:
                self._known.clear()
            self._known[block] = (names, values, self.size)
        return names, values

    def _read(self, block: bytes) -> Decoded:
        template = self._templates.get(block[:2])
        if template is None:
            return self._decode(block)
        try:
            values = template.read(block)
        except IndexError:  # the block ends early
            values = None
        return self._decode(block) if values is None else (template.names, values)

    def _decode(self, block: bytes) -> Decoded:
        before = len(self._names)
        try:
            names, values = self._quickly(block)
        except (_Unusual, IndexError, BadBlock):
            added = len(self._names) - before
            if added:
                del self._names[_FIRST : _FIRST + added]
                del self._values[_FIRST : _FIRST + added]
            self._changed()
            return self._strictly(block)
        if not self._still:
            return names, values
        if self._wait:
            self._wait -= 1
        elif len(block) <= MAX_TEMPLATE_BYTES:
            self._pause = self._wait = min(self._pause + 1, MAX_PAUSE)
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[block[:2]] = Template(block, names, values.copy())
        return names, values

    def _changed(self) -> None:
        """The table is not what it was: what templates say of it is wrong."""
        self._still = False
        if self._known:
            self._known.clear()
        if self._templates:
            self._templates.clear()
        self._wait = self._pause

    # ------------------------------------------------------------------ the quick way

    def _quickly(self, block: bytes) -> Decoded:
        """One loop, and longer than the house likes: a call per field would double what it costs.
        IndexError: a number or string that goes over the end, or an index that isn't there."""
        names: list[bytes] = []
        values: list[Any] = []
        coded: dict[int, bytes] = {}  # Huffman strings, by where in `values` they belong
        spots: list[int] = []  # where the values of new entries of the table are
        used: list[tuple[int, int]] = []  # places, and how many entries were new when used
        at, size = 0, len(block)
        while at < size:
            first = block[at]
            if first > 127:  # section 6.1: indexed, most often several in a row
                run = _run_of_indices(block, at)
                if run is None:
                    raise _Unusual
                places = run[0]
                if spots and max(places) >= _FIRST:
                    used.append((max(places), len(spots)))
                names += map(self._names.__getitem__, places)
                values += map(self._values.__getitem__, places)
                at = run.end()
                continue
            if 31 < first < 64:
                raise _Unusual  # section 6.3: the table changes its size
            # Section 6.2.1: a literal that goes into the table; 6.2.2 and 6.2.3: one that doesn't.
            at += 1
            index = first & (63 if first > 63 else 15)
            if index:
                if index == 63 or (index == 15 and first < 32):
                    index += block[at]
                    if block[at] > 127:
                        raise _Unusual
                    at += 1
                if spots and index >= FIRST_DYNAMIC:
                    used.append((index + _INDEXED, len(spots)))
                names.append(self._names[index + _INDEXED])
            else:
                start = at
                at += 1 + (block[at] & 127)
                names.append(_known_names.get(block[start:at]) or _new_name(block[start:at]))
            length = block[at]
            start = at + 1
            at = start + (length & 127)
            if length & 127 == 127:
                start, at = long_string(block, start)
            value = block[start:at] if length < 128 else None
            if value is None:
                coded[len(values)] = block[start:at]
            if first > 63:
                spots.append(len(values))
                self._names.insert(_FIRST, names[-1])
                self._values.insert(_FIRST, value)
            values.append(value)
        if at != size:
            raise _Unusual
        if coded:
            _fill(values, coded)
        if spots:
            self._settle(spots, used, values)
        return names, values

    def _settle(self, spots: list[int], used: list[tuple[int, int]], values: list[Any]) -> None:
        """Gives the new entries their values and takes the oldest out (section 4.4)."""
        self._changed()
        size = self._size
        table_names, table_values = self._names, self._values
        place = _FIRST + len(spots)
        for spot in spots:
            place -= 1
            value = table_values[place] = values[spot]
            size += len(table_names[place]) + len(value) + ENTRY_OVERHEAD
        if size > self._limit:
            kept = len(table_names)
            while size > self._limit:
                kept -= 1
                size -= len(table_names[kept]) + len(table_values[kept]) + ENTRY_OVERHEAD
            if used:
                self._check(len(spots), used, kept)
            del table_names[kept:]
            del table_values[kept:]
        self._size = size

    def _check(self, new: int, used: list[tuple[int, int]], kept: int) -> None:
        """new: how many entries stand before those that were there. The oldest leave from `kept`:
        was one of these used when it should have been gone already?"""
        for where, before in used:
            place = where + new - before
            # What stood in the table then: all but the entries that came later.
            if place >= kept and self._bytes_of(_FIRST + new - before, place + 1) > self._limit:
                raise _Unusual

    def _bytes_of(self, start: int, end: int) -> int:
        """What the entries at these places take of the table."""
        sizes = map(len, self._names[start:end] + self._values[start:end])
        return sum(sizes) + (end - start) * ENTRY_OVERHEAD

    # ------------------------------------------------------------------ the strict way

    def _strictly(self, block: bytes) -> Decoded:
        names: list[bytes] = []
        values: list[bytes] = []
        at = 0
        while at < len(block):
            first = block[at]
            if first > 127:
                index, at = read_integer(block, at, 7)
                name, value = self._entry(index)
            elif 31 < first < 64:
                if names:
                    raise BadBlock("a table size update does not stand first")
                size, at = read_integer(block, at, 5)
                self._resize(size)
                continue
            else:
                index, at = read_integer(block, at, 6 if first > 63 else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = read_string(block, at)
                value, at = read_string(block, at)
                if first > 63:
                    self._add(name, value)
            names.append(name)
            values.append(value)
        return names, values

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if not 0 < index < len(self._names) - _INDEXED:
            raise BadBlock(f"there is no entry {index}")
        return self._names[_INDEXED + index], self._values[_INDEXED + index]

    def _add(self, name: bytes, value: bytes) -> None:
        wide = len(name) + len(value) + ENTRY_OVERHEAD
        self._evict(self._limit - wide)
        if wide <= self._limit:
            self._names.insert(_FIRST, name)
            self._values.insert(_FIRST, value)
            self._size += wide

    def _resize(self, limit: int) -> None:
        if limit > self._table_bytes:
            raise BadBlock(f"a table of {limit} bytes, {self._table_bytes} allowed")
        self._limit = limit
        self._evict(limit)

    def _evict(self, limit: int) -> None:
        while self._size > limit and len(self._names) > _FIRST:
            self._size -= len(self._names.pop()) + len(self._values.pop()) + ENTRY_OVERHEAD


def _fill(values: list[Any], coded: dict[int, bytes]) -> None:
    """Puts the Huffman strings in their places, decoded."""
    for hole, value in zip(coded, decode_all(list(coded.values())), strict=True):
        values[hole] = value
    if None in values:
        raise _Unusual  # an entry was used before its value was known


def _new_name(written: bytes) -> bytes:
    """A name that was not known, written with one byte for its length."""
    if written[0] & 127 == 127:
        raise _Unusual
    name, _ = read_string(written, 0)
    if len(name) <= _MAX_KNOWN_NAME_BYTES:
        if len(_known_names) >= _MAX_KNOWN_NAMES:
            _known_names.clear()
        _known_names[written] = name
    return name
