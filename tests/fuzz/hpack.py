"""HPACK: what our decoder reads, the hpack library reads, over two blocks of one connection."""

from __future__ import annotations

from collections.abc import Hashable

from hpack import Decoder as Judge
from hpack import Encoder as Writer
from hpack import HPACKError

from proxy.http.h2.decoder import Decoder
from proxy.http.h2.errors import BadBlock

Fields = list[tuple[bytes, bytes]] | None
MANY_BYTES = 1 << 24


def _seeds() -> tuple[bytes, ...]:
    lists = (
        [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a.example")],
        [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")],
        [("cookie", "a=b; c=d"), ("x-long", "v" * 200), ("x-long", "w" * 300), ("", "")],
        [("x-" + "n" * number, "v" * number) for number in range(12)],
    )
    found = []
    for fields in lists:
        for huffman in (False, True):
            writer = Writer()
            found += [
                writer.encode(fields, huffman=huffman),
                writer.encode(fields, huffman=huffman),
            ]
    writer = Writer()
    writer.header_table_size = 100
    return (*found, writer.encode(lists[0]))


SEEDS = _seeds()
WORDS = (
    b"\x20",
    b"\x3f\xe1\x1f",
    b"\x3f\xe2\x1f",
    b"\x80",
    b"\x82",
    b"\xbe",
    b"\xbf",
    b"\xff\x00",
    b"\x40",
    b"\x00",
    b"\x10",
    b"\x7f\x00",
    b"\x0f\x2f",
    b"\x01a\x01b",
    b"\x81\x1f",
    b"\x84\xff\xff\xff\xff",
    b"\x7f",
    b"\xff",
    b"\xff\xff\xff\xff\xff\x0f",
    b"\x40\x01x\x01y",
    b"\x62\x01z",
    b"\x83\x8c\xff",
)


def check(data: bytes, at: int) -> Hashable:
    """Two blocks, split at `at`. AssertionError where the two decoders read different fields, or
    only one of them refuses."""
    ours, judge = Decoder(), Judge(max_header_list_size=MANY_BYTES)
    kinds: list[object] = []
    for block in (data[:at], data[at:]):
        told, wanted = _ours(ours, block), _judges(judge, block)
        if told is not None or wanted is not None:
            assert told == wanted, f"{block.hex()}: ours {told}, hpack's {wanted}"
        kinds.append(len(told) if told is not None else wanted is None)
        if told is None or wanted is None:
            break
    return tuple(kinds)


def _ours(decoder: Decoder, block: bytes) -> Fields:
    try:
        names, values = decoder.decode(block)
    except BadBlock:
        return None
    return list(zip(names, values, strict=True))


def _judges(decoder: Judge, block: bytes) -> Fields:
    try:
        return [(field[0], field[1]) for field in decoder.decode(block, raw=True)]
    except HPACKError:
        return None
