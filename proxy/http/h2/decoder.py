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

# What a field value may hold: no control character but the tab (RFC 9113 section 8.2.1), no DEL
# (Envoy).
_VALUE_BYTES = (9, *range(32, 127), *range(128, 256))
_NO_VALUE_BYTES = bytes([1 if byte in _VALUE_BYTES else 0 for byte in range(256)])

# An entry is a list [name, value], value None for the moment until its Huffman string is decoded.
Entry = list[Any]
Decoded = tuple[list[bytes], list[bytes]]
_STATIC: list[Entry] = [[], *([name, value] for name, value in ENTRIES)]

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
        "_limit", "_pause", "_size", "_table", "_table_bytes", "_templates", "_wait", "size",
        "tainted",
    )  # fmt: skip

    def __init__(self, table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        self._table_bytes = table_bytes
        # Until the encoder says what it will use: it may begin before it knows of our settings.
        self._limit = DEFAULT_TABLE_BYTES
        self._size = 0
        # All entries by their index: the static ones, then ours from the newest to the oldest.
        self._table = _STATIC.copy()
        # By how blocks begin; only while the table stands still. One is made after `_wait` blocks
        # that no template could read, so that making them in vain costs little.
        self._templates: dict[bytes, Template] = {}
        self._wait = self._pause = 1
        self.size = 0
        self.tainted = False

    def decode(self, block: bytes) -> Decoded:
        """Names and values. Raises BadBlock, after which the decoder can't be used any more."""
        template = self._templates.get(block[:2])
        if template is None:
            names, values = self._decode(block)
        else:
            names = template.names
            try:
                found = template.read(block)
            except IndexError:  # the block ends early
                found = None
            if found is None:
                names, values = self._decode(block)
            else:
                values = found
        joined = b"".join(values)
        self.size = len(joined)
        self.tainted = 0 in joined.translate(_NO_VALUE_BYTES)
        return names, values

    def _decode(self, block: bytes) -> Decoded:
        before = len(self._table)
        try:
            names, values = self._quickly(block)
        except (_Unusual, IndexError, ValueError, BadBlock):
            added = len(self._table) - before
            if added:
                del self._table[FIRST_DYNAMIC : FIRST_DYNAMIC + added]
            self._changed()
            return self._strictly(block)
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
        self._templates.clear()
        self._wait = self._pause

    # ------------------------------------------------------------------ the quick way

    def _quickly(self, block: bytes) -> Decoded:
        """One loop, and longer than the house likes: a call per field would double what it costs.
        IndexError: it goes over the end, or there is no such index. ValueError: the index 0."""
        table = self._table
        names: list[bytes] = []
        values: list[Any] = []
        coded: list[bytes] = []  # Huffman strings, and where in `values` they belong
        holes: list[int] = []
        spots: list[int] = []  # where the values of new entries of the table are
        used: list[tuple[int, int]] = []  # indices, and how many entries were new when used
        at, size = 0, len(block)
        while at < size:
            first = block[at]
            at += 1
            if first > 127:  # section 6.1: indexed
                index = first - 128
                if index == 127:
                    index += block[at] if block[at] < 128 else _too_big()
                    at += 1
                if spots and index >= FIRST_DYNAMIC:
                    used.append((index, len(spots)))
                name, value = table[index]
                names.append(name)
                values.append(value)
                continue
            index = first & (63 if first > 63 else 15)  # a literal: section 6.2.1; 6.2.2, 6.2.3
            if index == 63 or (index == 15 and first < 32):
                index += block[at] if block[at] < 128 else _too_big()
                at += 1
            if spots and index >= FIRST_DYNAMIC:
                used.append((index, len(spots)))
            if index:
                names.append(table[index][0])
            else:
                start = at
                at += 1 + (block[at] & 127)
                names.append(_known_names.get(block[start:at]) or _new_name(block[start:at]))
            length = block[at]
            start = at + 1
            at = start + (length & 127)
            if length & 127 == 127:
                start, at = long_string(block, start)
            if length < 128:
                values.append(block[start:at])
            else:
                coded.append(block[start:at])
                holes.append(len(values))
                values.append(None)
            if first > 31:
                if first < 64:
                    raise _Unusual  # section 6.3: the table changes its size
                spots.append(len(values) - 1)
                table.insert(FIRST_DYNAMIC, [names[-1], None])
        if at != size:
            raise _Unusual
        if coded:
            _fill(values, holes, decode_all(coded))
        if spots:
            self._settle(spots, used, values)
        return names, values

    def _settle(self, spots: list[int], used: list[tuple[int, int]], values: list[Any]) -> None:
        """Gives the new entries their values and takes the oldest out (section 4.4)."""
        if None in values:
            raise _Unusual  # an entry was used before its value was known
        table = self._table
        self._changed()
        size = self._size
        index = FIRST_DYNAMIC + len(spots)
        for spot in spots:
            index -= 1
            entry = table[index]
            value = entry[1] = values[spot]
            size += len(entry[0]) + len(value) + ENTRY_OVERHEAD
        kept = len(table)
        limit = self._limit
        while size > limit:
            kept -= 1
            name, value = table[kept]
            size -= len(name) + len(value) + ENTRY_OVERHEAD
        if used:
            self._check(len(spots), used, kept)
        del table[kept:]
        self._size = size

    def _check(self, new: int, used: list[tuple[int, int]], kept: int) -> None:
        """new: how many entries stand before those that were there. The oldest leave from `kept`
        on: was one of these used when it should have been gone already?"""
        table = self._table
        for index, before in used:
            place = index + new - before
            if place < kept:
                continue
            # What stood in the table then: all but the entries that came later.
            younger = table[FIRST_DYNAMIC + new - before : place + 1]
            if _bytes_of(younger) > self._limit:
                raise _Unusual

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

    def _entry(self, index: int) -> Entry:
        if not 0 < index < len(self._table):
            raise BadBlock(f"there is no entry {index}")
        return self._table[index]

    def _add(self, name: bytes, value: bytes) -> None:
        wide = len(name) + len(value) + ENTRY_OVERHEAD
        self._evict(self._limit - wide)
        if wide <= self._limit:
            self._table.insert(FIRST_DYNAMIC, [name, value])
            self._size += wide

    def _resize(self, limit: int) -> None:
        if limit > self._table_bytes:
            raise BadBlock(f"a table of {limit} bytes, {self._table_bytes} allowed")
        self._limit = limit
        self._evict(limit)

    def _evict(self, limit: int) -> None:
        while self._size > limit and len(self._table) > FIRST_DYNAMIC:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _too_big() -> int:
    """An index has a third byte."""
    raise _Unusual


def _fill(values: list[Any], holes: list[int], found: list[bytes]) -> None:
    for hole, value in zip(holes, found, strict=True):
        values[hole] = value


def _bytes_of(entries: list[Entry]) -> int:
    return sum([len(name) + len(value) + ENTRY_OVERHEAD for name, value in entries])


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
