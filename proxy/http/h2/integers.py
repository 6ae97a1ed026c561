"""HPACK's numbers and strings (RFC 7541 section 5), read in the order of the RFC."""

from __future__ import annotations

from proxy.http.h2.errors import BadBlock
from proxy.http.h2.huffman import decode_all

MAX_INTEGER = 1 << 28


def read_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
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


def read_string(block: bytes, at: int) -> tuple[bytes, int]:
    """Section 5.2: the string at `at`, decoded, and where it ends."""
    if at >= len(block):
        raise BadBlock("a string is cut off")
    coded = block[at] > 127
    length, at = read_integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise BadBlock("a string is cut off")
    return (decode_all([block[at:end]])[0] if coded else block[at:end]), end


def long_string(block: bytes, at: int) -> tuple[int, int]:
    """Begin and end of a string of 127 bytes and more; `at` is behind its length's first byte.
    IndexError if the length has more than three bytes, or is cut off."""
    low = block[at]
    if low < 128:
        return at + 1, at + 128 + low
    high = block[at + 1]
    if high > 127:
        raise IndexError
    return at + 2, at + 1 + low + (high << 7)
