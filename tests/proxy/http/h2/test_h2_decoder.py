"""HPACK blocks: the quick way reads what the strict one reads, and the strict one what the hpack
library reads."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Decoder as Judge
from hpack import Encoder as Writer
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.h2.decoder import Decoder
from proxy.http.h2.encoder import integer, written
from proxy.http.h2.errors import BadBlock
from tests.support.h2spec import HUFFMAN, text

names = st.sampled_from([b":path", b"cookie", b"x-a", b"x-long-name-of-a-field", b"date", b"x-b"])
values = st.one_of(
    st.sampled_from([b"", b"1", b"GET", b"v" * 126, b"v" * 127, b"v" * 400, b"back\\slash"]),
    st.binary(max_size=20),
)
field = st.tuples(names, values)
Fields = list[tuple[bytes, bytes]]


def pairs(decoder: Decoder, block: bytes, *, strict: bool = False) -> Fields | None:
    try:
        found = decoder._strictly(block) if strict else decoder.decode(block)
    except BadBlock:
        return None
    return list(zip(*found, strict=True))


@given(
    st.lists(st.lists(field, max_size=8), max_size=8),
    st.booleans(),
    st.sampled_from([0, 150, 4096]),
)
def test_what_the_library_writes_is_read(blocks: list[Fields], huffman: bool, table: int) -> None:
    writer, reader = Writer(), Decoder()
    writer.header_table_size = table
    for fields in blocks:
        assert pairs(reader, writer.encode(fields, huffman=huffman)) == fields


@st.composite
def representation(draw: st.DrawFn) -> bytes:
    """A field as somebody might write it; indices may be wrong."""
    index = draw(st.sampled_from([0, 1, 2, 8, 15, 16, 61, 62, 63, 64, 66, 70, 130, 200]))
    kind = draw(st.integers(0, 9))
    if kind < 4:
        return integer(index or 2, 7, 0x80)
    if kind == 9:
        return integer(draw(st.sampled_from([0, 60, 100, 4096])), 5, 0x20)
    first, bits = draw(st.sampled_from([(0x40, 6), (0x40, 6), (0, 4), (0x10, 4)]))
    huffman = draw(st.booleans())
    name = b"" if index else text(draw(names), huffman=huffman)
    value = draw(st.sampled_from([b"", b"a", b"bc", b"v" * 30, b"w" * 80]))
    return integer(index, bits, first) + name + text(value, huffman=huffman)


@settings(max_examples=150)
@given(st.lists(st.lists(representation(), max_size=7).map(b"".join), max_size=12), st.booleans())
def test_both_ways_read_the_same(blocks: list[bytes], small: bool) -> None:
    """Tables, sizes and refusals too; in a small table entries leave while a block is read."""
    quick, strict = Decoder(), Decoder()
    blocks = [b"\x3f\x61", *blocks] if small else blocks
    for block in blocks:
        found = pairs(quick, block)
        assert found == pairs(strict, block, strict=True)
        if found is None:
            return
        assert (quick._names, quick._values) == (strict._names, strict._values)
        assert quick._size == strict._size


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_any_bytes_are_read_as_the_library_reads_them(blocks: list[bytes]) -> None:
    ours, judge = Decoder(), Judge(max_header_list_size=1 << 24)
    for block in blocks:
        found = pairs(ours, block)
        wanted: Any
        try:
            wanted = [(name, value) for name, value in judge.decode(block, raw=True)]
        except Exception:  # the library lets IndexError and the like pass for malformed input
            wanted = None
        assert found == wanted
        if found is None:
            return


def test_an_entry_of_this_very_block_can_be_used() -> None:
    reader = Decoder()
    block = b"\x40" + text(b"x-a", huffman=True) + text(b"value", huffman=True) + b"\xbe\x82\xbe"
    fields = [(b"x-a", b"value"), (b"x-a", b"value"), (b":method", b"GET"), (b"x-a", b"value")]
    assert pairs(reader, block) == fields
    assert pairs(reader, b"\xbe") == fields[:1]


def test_an_entry_that_must_be_gone_is_not_there() -> None:
    """Three entries of 100 bytes in a table of 250: the first leaves when the third comes, and
    using it in the same block is an error."""
    entries = [b"\x40" + written(b"name%d" % n) + written(b"v" * 63) for n in range(3)]
    for index, there in ((0xBE, True), (0xBF, True), (0xC0, False)):
        reader = Decoder()
        pairs(reader, b"\x3f\xdb\x01")
        block = b"".join(entries) + bytes([index])
        assert (pairs(reader, block) is not None) == there


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "index 0"),
        (b"\xbe", "an index beyond the table"),
        (b"\x40\x05abc", "a name cut off"),
        (b"\x41\x05abc", "a value cut off"),
        (b"\x41", "a value that is missing"),
        (b"\xff", "a number cut off"),
        (b"\xff\xff\xff\xff\xff\xff\x7f", "a number too large"),
        (b"\x41\x7f\xff\xff\xff\xff\xff\x7f", "a length too large"),
        (b"\x82\x20", "a size update behind a field"),
        (b"\x3f\xe2\x1f", "a size update above the settings"),
        (b"\x41\x81\xff", "bad Huffman padding"),
    ],
)
def test_malformed_blocks_are_refused(block: bytes, why: str) -> None:
    assert pairs(Decoder(), block) is None, why
    assert pairs(Decoder(), b"\x82\x86" + block) is None, why


def test_values_that_no_field_may_have_are_seen_even_when_they_come_by_index() -> None:
    reader = Decoder()
    for bad in (b"a\r\nb", b"\0", b"\x01", b"\x7f"):
        reader.decode(b"\x40" + written(b"x-a") + written(bad))
        assert reader.tainted
        reader.decode(b"\xbe")
        assert reader.tainted
        reader.decode(b"\x82")
        assert not reader.tainted


def test_the_size_of_values_is_told() -> None:
    reader = Decoder()
    reader.decode(b"\x82" + b"\x00" + written(b"x-a") + written(b"v" * 300))
    assert reader.size == 303


# ---------------------------------------------------------------------- templates


@given(
    st.lists(st.lists(st.tuples(names, values), min_size=1, max_size=5), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), values, values), max_size=25),
    st.booleans(),
)
def test_blocks_that_differ_in_values_only_are_read_by_templates(
    kinds: list[Fields], blocks: list[tuple[int, bytes, bytes]], huffman: bool
) -> None:
    """Some kinds of messages by turns, each with a steady and two literal values."""
    writer, reader, strict = Writer(), Decoder(), Decoder()
    writer.encode([(b"x-steady", b"1")])
    warm = b"\x40" + text(b"x-steady", huffman=False) + text(b"1", huffman=False)
    pairs(reader, warm)
    pairs(strict, warm)
    for number, one, two in blocks:
        fields = kinds[number % len(kinds)]
        block = b"\xbe" + _literals([*fields[:-1], (fields[-1][0], one), (b"x-last", two)], huffman)
        wanted = pairs(strict, block, strict=True)
        assert pairs(reader, block) == wanted
        for cut in (1, len(two) + 3):
            assert pairs(reader, block[:-cut]) == pairs(strict, block[:-cut], strict=True)


def _literals(fields: Fields, huffman: bool) -> bytes:
    coded = HUFFMAN.encode if huffman else bytes
    flag = 0x80 if huffman else 0
    return b"".join(
        [
            b"\x00" + written(name) + integer(len(coded(value)), 7, flag) + coded(value)
            for name, value in fields
        ]
    )


def test_a_template_is_forgotten_when_the_table_changes() -> None:
    reader = Decoder()
    add = b"\x40" + written(b"x-a")
    reader.decode(add + written(b"one"))
    for path in (b"/%d" % number for number in range(10)):
        assert pairs(reader, b"\xbe\x04\x02" + path) == [(b"x-a", b"one"), (b":path", path)]
    assert reader._templates
    reader.decode(add + written(b"two"))
    assert pairs(reader, b"\xbe\x04\x02/b") == [(b"x-a", b"two"), (b":path", b"/b")]
    reader.decode(b"\x20")
    assert pairs(reader, b"\xbe\x04\x02/b") is None


def test_a_block_that_came_before_is_forgotten_when_the_table_changes() -> None:
    reader = Decoder()
    add = b"\x40" + written(b"x-a")
    reader.decode(add + written(b"one"))
    for _ in range(3):
        assert pairs(reader, b"\xbe\x88") == [(b"x-a", b"one"), (b":status", b"200")]
        assert reader.size == len(b"one200")
    reader.decode(add + written(b"two"))
    assert pairs(reader, b"\xbe\x88") == [(b"x-a", b"two"), (b":status", b"200")]
    reader.decode(add + written(b"\0"))
    for _ in range(3):
        reader.decode(b"\xbe\x88")
        assert reader.tainted
        reader.decode(b"\xbf\x88")
        assert not reader.tainted


def test_blocks_that_are_kept_are_bounded() -> None:
    reader = Decoder()
    for number in range(200):
        reader.decode(b"\x04" + written(b"/%d" % number))
        reader.decode(b"\x04" + written(b"/%d" % number * 200))
    assert 0 < sum(map(len, reader._known)) < 16 * 256
