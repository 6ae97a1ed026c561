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
from proxy.http.h2.static import ENTRIES, FIRST_DYNAMIC

ENTRY_OVERHEAD = 32  # RFC 7541 section 4.1
DEFAULT_TABLE_BYTES = 4096
MAX_INTEGER = 1 << 28

# What a field value may hold: no control character but the tab (RFC 9113 section 8.2.1), no DEL
# (Envoy).
VALUE_BYTES = bytes([9, *range(32, 127), *range(128, 256)])

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
    """table_bytes: what our SETTINGS_HEADER_TABLE_SIZE says. tainted: the last block held a byte
    that no value may have. widest: bytes of the largest entry that the table ever held, so that a
    bound on what a block comes to is cheap."""

    __slots__ = ("_limit", "_size", "_spoiled", "_table", "_table_bytes", "tainted", "widest")

    def __init__(self, table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        self._table_bytes = table_bytes
        # Until the encoder says what it will use: it may begin before it knows of our settings.
        self._limit = DEFAULT_TABLE_BYTES
        self._size = 0
        # All entries by their index: the static ones, then ours from the newest to the oldest. The
        # static list is shared until the first block.
        self._table = _STATIC
        self._spoiled = False
        self.tainted = False
        self.widest = 64

    def decode(self, block: bytes) -> Decoded:
        """Names and values. Raises BadBlock, after which the decoder can't be used any more."""
        if self._table is _STATIC:
            self._table = _STATIC.copy()
        before = len(self._table)
        try:
            return self._quickly(block)
        except (_Unusual, IndexError):
            added = len(self._table) - before
            if added:
                del self._table[FIRST_DYNAMIC : FIRST_DYNAMIC + added]
            return self._strictly(block)

    # ------------------------------------------------------------------ the quick way

    def _quickly(self, block: bytes) -> Decoded:
        """One loop, and longer than the house likes: a call per field would double what it costs.
        IndexError: a number or string that goes over the end, or an index that isn't there."""
        table = self._table
        names: list[bytes] = []
        values: list[Any] = []
        fresh: list[bytes] = []  # literal values, which must be looked at
        coded: list[bytes] = []  # Huffman strings, and where in `values` they belong
        holes: list[int] = []
        added: list[Entry] = []  # to the table, and where in `values` their values are
        spots: list[int] = []
        at = 0
        size = len(block)
        while at < size:
            first = block[at]
            at += 1
            if first > 127:  # section 6.1: indexed
                if first == 255:
                    first += block[at]
                    at += 1
                    if first > 382:  # the number has more bytes
                        raise _Unusual
                entry = table[first - 128]
                names.append(entry[0])
                values.append(entry[1])
                continue
            if first > 63:  # section 6.2.1: a literal that goes into the table
                index = first - 64
                if index == 63:
                    index += block[at]
                    at += 1
                    if index > 190:
                        raise _Unusual
            elif first < 32:  # sections 6.2.2 and 6.2.3: one that doesn't
                index = first & 15
                if index == 15:
                    index += block[at]
                    at += 1
                    if index > 142:
                        raise _Unusual
            else:
                raise _Unusual
            if index:
                name = table[index][0]
            else:
                end = at + 1 + (block[at] & 127)
                name = _known_names.get(block[at:end]) or _new_name(block[at:end])
                at = end
            names.append(name)
            length = block[at]
            at += 1
            end = at + (length & 127)
            if end - at == 127:
                at, end = _long(block, at)
            value = block[at:end]
            at = end
            if length > 127:
                coded.append(value)
                holes.append(len(values))
                values.append(None)
            else:
                fresh.append(value)
                values.append(value)
            if first > 63:
                entry = [name, None]
                added.append(entry)
                spots.append(len(values) - 1)
                table.insert(FIRST_DYNAMIC, entry)
        if at != size:
            raise _Unusual
        if coded:
            decoded = decode_all(coded)
            fresh += decoded
            for hole, value in zip(holes, decoded, strict=True):
                values[hole] = value
        if added:
            self._settle(added, spots, values)
        self.tainted = b"".join(fresh).translate(None, VALUE_BYTES) != b""
        if self.tainted or self._spoiled:
            self._look_closely(values, added != [])
        return names, values

    def _settle(self, added: list[Entry], spots: list[int], values: list[Any]) -> None:
        """Gives the new entries their values and takes the oldest out (section 4.4)."""
        if None in values:
            raise _Unusual  # an entry was used before its value was known
        table = self._table
        size = self._size
        for entry, spot in zip(added, spots, strict=True):
            value = entry[1] = values[spot]
            wide = len(entry[0]) + len(value) + ENTRY_OVERHEAD
            size += wide
            if wide > self.widest:
                self.widest = wide
        kept = len(table)
        later = values[spots[0] :]
        while size > self._limit:
            kept -= 1
            name, value = table[kept]
            if value in later and any(value is other for other in later):
                raise _Unusual  # it was used, perhaps when it should have been gone
            size -= len(name) + len(value) + ENTRY_OVERHEAD
        del table[kept:]
        self._size = size

    def _look_closely(self, values: list[bytes], added: bool) -> None:
        """Bad values that went into the table may come back without being literal again."""
        if self.tainted and added:
            self._spoiled = True
        if self._spoiled:
            self.tainted = b"".join(values).translate(None, VALUE_BYTES) != b""

    # ------------------------------------------------------------------ the strict way

    def _strictly(self, block: bytes) -> Decoded:
        names: list[bytes] = []
        values: list[bytes] = []
        at = 0
        added = False
        while at < len(block):
            first = block[at]
            if first > 127:
                index, at = _integer(block, at, 7)
                name, value = self._entry(index)
            elif 31 < first < 64:
                if names:
                    raise BadBlock("a table size update does not stand first")
                size, at = _integer(block, at, 5)
                self._resize(size)
                continue
            else:
                index, at = _integer(block, at, 6 if first > 63 else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                if first > 63:
                    added = True
                    self._add(name, value)
            names.append(name)
            values.append(value)
        self.tainted = b"".join(values).translate(None, VALUE_BYTES) != b""
        self._spoiled = self._spoiled or (self.tainted and added)
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
            self.widest = max(self.widest, wide)

    def _resize(self, limit: int) -> None:
        if limit > self._table_bytes:
            raise BadBlock(f"a table of {limit} bytes, {self._table_bytes} allowed")
        self._limit = limit
        self._evict(limit)

    def _evict(self, limit: int) -> None:
        while self._size > limit and len(self._table) > FIRST_DYNAMIC:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _long(block: bytes, at: int) -> tuple[int, int]:
    """Begin and end of a string of 127 bytes and more; `at` is behind the length's first byte."""
    low = block[at]
    if low < 128:
        return at + 1, at + 1 + 127 + low
    high = block[at + 1]
    if high > 127:
        raise _Unusual
    return at + 2, at + 2 + low - 1 + (high << 7)


def _new_name(written: bytes) -> bytes:
    """A name that was not known, written with one byte for its length."""
    if written[0] & 127 == 127:
        raise _Unusual
    name, _ = _string(written, 0)
    if len(name) <= _MAX_KNOWN_NAME_BYTES:
        if len(_known_names) >= _MAX_KNOWN_NAMES:
            _known_names.clear()
        _known_names[written] = name
    return name


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Section 5.1: the number at `at`, and where it ends."""
    limit = (1 << bits) - 1
    number = block[at] & limit
    at += 1
    if number < limit:
        return number, at
    shift = 0
    while at < len(block):
        byte = block[at]
        at += 1
        number += (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if number > MAX_INTEGER or shift > 28:
            break
    raise BadBlock("a number is too large or cut off")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Section 5.2: the string at `at`, decoded, and where it ends."""
    if at >= len(block):
        raise BadBlock("a string is cut off")
    coded = block[at] > 127
    length, at = _integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise BadBlock("a string is cut off")
    return (decode_all([block[at:end]])[0] if coded else block[at:end]), end
