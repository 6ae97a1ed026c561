"""HPACK's Huffman code (RFC 7541 section 5.2), decoded by zlib.

HPACK's code is canonical, and so are the codes of DEFLATE (RFC 1951 section 3.2.2). All symbols
with codes of up to 15 bits (every printable ASCII character but the backslash) form a complete
DEFLATE code if the one 15-bit code that is left, all ones, is given to DEFLATE's end of block. So
zlib, told that code in a block header (`_TABLE`), reads our strings at C speed once the bits of
each byte are mirrored. It stays inside of that one block for ever.

Strings are padded with up to seven one-bits. Behind each we put a `_GAP`: bits found by search that
lead, from any legal padding, over three known symbols to a NUL that ends on a byte's border. The
three symbols are the proof that the padding was legal, and the NUL is where to split. Whatever does
not come out so (rarer symbols, bad padding, a NUL in a string) is decoded again step by step.
"""

from __future__ import annotations

import zlib

from proxy.http.h2.errors import BadBlock

# Of each symbol, 256 is the end of string (RFC 7541 appendix B); the codes follow from them.
LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606"
    "0505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817"
    "1818161718171717171516171617171816151416161717151716161815161717151516151716171714161616171616171a1a"
    "1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a171a1b1a1a"
    "1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
EOS = 256
MAX_PADDING_BITS = 7

_TABLE = bytes.fromhex(
    "02082040017880e3308e200882f31465f6282a332a24919424498e53e7c8b66ddbb66ddbb6ed700c6675144549b42551"
    "1629dbf6d5cedb0f"
)
_GAP = b"\x2e\x7f\x1f\xf8"
_LEGAL = frozenset([b"eLw", b"fLw", b"JLw", b"WY&", b"x6!", b"*6!", b"X:!", b'"6!'])
_MIRROR = bytes([int(f"{byte:08b}"[::-1], 2) for byte in range(256)])


def _started() -> zlib._Decompress:
    inflater = zlib.decompressobj(-9)  # no wrapping; the smallest window, as we never copy from it
    inflater.decompress(_TABLE)
    return inflater


_inflater = _started()


def decode_all(strings: list[bytes]) -> list[bytes]:
    """The strings decoded. Raises BadBlock."""
    global _inflater
    ends = [*strings, b""]
    try:
        joined = _inflater.decompress(_GAP.join(ends).translate(_MIRROR))
    except zlib.error:
        joined = b""
    parts = joined.split(b"\0")
    found = [part[:-3] for part in parts if part[-3:] in _LEGAL]
    if len(found) == len(strings) == len(parts) - 1:
        return found
    _inflater = _started()
    return [_decode(string) for string in strings]


class _Node:
    """Where one stands in the tree of codes; `steps` are found when first gone."""

    __slots__ = ("legal_end", "steps", "tree")

    def __init__(self, tree: list[object], legal_end: bool) -> None:
        self.tree = tree
        self.legal_end = legal_end
        self.steps: dict[int, tuple[_Node, bytes]] = {}


def _build() -> tuple[list[object], dict[int, _Node]]:
    """The tree of codes as pairs [zero, one], and the inner nodes by identity of their pair."""
    root: list[object] = [None, None]
    code, length = 0, 0
    for symbol in sorted(range(257), key=lambda symbol: (LENGTHS[symbol], symbol)):
        code <<= LENGTHS[symbol] - length
        length = LENGTHS[symbol]
        _place(root, f"{code:0{length}b}", symbol)
        code += 1
    nodes: dict[int, _Node] = {}
    _note(root, "", nodes)
    return root, nodes


def _place(root: list[object], path: str, symbol: int) -> None:
    at = root
    for bit in path[:-1]:
        below = at[int(bit)]
        if not isinstance(below, list):
            below = at[int(bit)] = list[object]((None, None))
        at = below
    at[int(path[-1])] = symbol


def _note(tree: list[object], path: str, nodes: dict[int, _Node]) -> None:
    legal_end = len(path) <= MAX_PADDING_BITS and "0" not in path
    nodes[id(tree)] = _Node(tree, legal_end)
    for bit in (0, 1):
        below = tree[bit]
        if isinstance(below, list):
            _note(below, path + str(bit), nodes)


_root, _nodes = _build()


def _decode(string: bytes) -> bytes:
    """One string, four bits at a time: a table that fills up as it is used (at most 4,096)."""
    node = _nodes[id(_root)]
    out: list[bytes] = []
    for byte in string:
        for nibble in (byte >> 4, byte & 15):
            found = node.steps.get(nibble)
            if found is None:
                found = node.steps[nibble] = _step(node.tree, nibble)
            node, symbols = found
            if symbols:
                out.append(symbols)
    if not node.legal_end:
        raise BadBlock("Huffman padding is not the beginning of EOS, or too long")
    return b"".join(out)


def _step(tree: list[object], nibble: int) -> tuple[_Node, bytes]:
    symbols = bytearray()
    for bit in (nibble >> 3, nibble >> 2 & 1, nibble >> 1 & 1, nibble & 1):
        below = tree[bit]
        if isinstance(below, list):
            tree = below
            continue
        if below == EOS:
            raise BadBlock("the end-of-string symbol stands in a Huffman string")
        assert isinstance(below, int)
        symbols.append(below)
        tree = _root
    return _nodes[id(tree)], bytes(symbols)
