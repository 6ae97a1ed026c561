"""Huffman strings: what zlib reads for us is what the RFC says, and bad ones are refused."""

from __future__ import annotations

import zlib

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2 import huffman
from proxy.http.h2.errors import BadBlock
from proxy.http.h2.huffman import LENGTHS, decode_all

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode
plain = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)).map(str.encode)


def judged(string: bytes) -> bytes | None:
    try:
        return bytes(decode_huffman(string))
    except HPACKDecodingError:
        return None


def ours(*strings: bytes) -> list[bytes] | None:
    try:
        return decode_all(list(strings))
    except BadBlock:
        return None


def test_the_lengths_are_those_of_the_rfc() -> None:
    assert list(LENGTHS) == REQUEST_CODES_LENGTH


def test_the_table_for_zlib_is_the_code_of_the_rfc() -> None:
    """Each symbol of up to 15 bits, alone behind the table; the ones behind it end the block."""
    for symbol, length in enumerate(LENGTHS[:256]):
        if length <= 15:
            bits = f"{REQUEST_CODES[symbol]:0{length}b}".ljust(32, "1")
            mirrored = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, 32, 8))
            assert zlib.decompressobj(-9).decompress(huffman._TABLE + mirrored) == bytes([symbol])


@given(st.lists(st.one_of(plain, st.binary(max_size=40)), max_size=8))
def test_strings_come_back(strings: list[bytes]) -> None:
    assert decode_all([encode(string) for string in strings]) == strings


@given(st.binary(max_size=12), plain)
def test_any_bytes_are_judged_as_the_library_judges_them(string: bytes, other: bytes) -> None:
    found = ours(encode(other), string, encode(other))
    wanted = judged(string)
    assert found == (None if wanted is None else [other, wanted, other])


@pytest.mark.parametrize(
    "string",
    [
        encode(b"a") + b"\xff",  # padding of more than seven bits
        encode(b"ww0")[:-1],  # cut off
        encode(b"aa")[:-1] + b"\x00",  # padded with zeros
        b"\xff\xff\xff\xff",  # EOS
        b"\xff",
        encode(b"x-test") + b"\xff",
    ],
)
def test_bad_strings_are_refused(string: bytes) -> None:
    assert judged(string) is None
    assert ours(string) is None
    assert ours(encode(b"before"), string, encode(b"after")) is None


def test_a_bad_string_spoils_no_later_one() -> None:
    for bad in (b"\xff\xff\xff\xff", b"\x00\x00", encode(b"back\\slash")):
        ours(bad)
        assert decode_all([encode(b"good")]) == [b"good"]


def test_every_padding_and_the_symbols_of_the_gap_are_told_apart() -> None:
    """Strings that end like the proof that we look for behind them."""
    for tail in (*huffman._LEGAL, b"eLw\0", b"\0", b"\\", b"{{{"):
        for head in (b"", b"0", b"%", b":", b"*", b"!", b"00", b"0%", b"000"):
            assert decode_all([encode(head + tail)] * 2) == [head + tail] * 2
