"""HPACK encoding (RFC 7541): names and values in, a block out; one encoder per connection.

All that depends on names alone is found once per tuple of names. Values are written as they are,
without Huffman coding: that is cheaper for us than the bytes it would save. A value that comes a
second time under the same name goes into the dynamic table and is one byte from then on; names
whose values never come again are found out and not looked up any more.
"""

from __future__ import annotations

from collections import deque

from proxy.http.h2.decoder import DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD
from proxy.http.h2.static import FIRST_DYNAMIC, INDEX_OF_FIELD, INDEX_OF_NAME
from proxy.http.headers import Headers, Pick, Shape, edited_shape, remember

MAX_PLANS = 64
MAX_FIELDS = 256
MAX_KEPT_NAME_BYTES = 64
MAX_CANDIDATES = 16
MISSES_TO_GIVE_UP = 64
# Never worth a place in the table, or not to be kept there (RFC 7541 section 7.1.3).
NEVER_KEPT = frozenset(
    (b":path", b"content-length", b"age", b"etag", b"if-modified-since", b"if-none-match",
     b"location", b"set-cookie", b"x-request-id", b"traceparent")
)  # fmt: skip
SECRET = frozenset((b"authorization", b"proxy-authorization"))


def integer(number: int, bits: int, first: int) -> bytes:
    """RFC 7541 section 5.1; `first` are the bits before the prefix."""
    limit = (1 << bits) - 1
    if number < limit:
        return bytes((first | number,))
    out = bytearray((first | limit,))
    number -= limit
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_INDEXED = [integer(number, 7, 0x80) for number in range(256)]
_LENGTHS = [integer(number, 7, 0) for number in range(1024)]

# The pseudo-header fields that stand before a block, in the order in which they are written.
REQUEST = (b":method", b":scheme", b":path", b":authority")
CONNECT = (b":method", b":authority")
EXTENDED_CONNECT = (b":method", b":protocol", b":scheme", b":path", b":authority")
RESPONSE = (b":status",)
TRAILERS = ()
Layout = tuple[bytes, ...]

# They belong to a connection of HTTP/1 (RFC 9113 section 8.2.2), or stand in `:authority`.
NOT_PASSED = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host")
)


class _Field:
    """What an encoder knows of a name. literal, kept: how a field begins that stays out of the
    table, or goes into it. numbers: of the values in the table, in order of insertion; below 0, the
    index in the static table. candidates: values that came once. misses: in a row, nearly."""

    __slots__ = ("candidates", "kept", "literal", "misses", "numbers", "wide")

    def __init__(self, name: bytes) -> None:
        index = INDEX_OF_NAME.get(name, 0)
        rest = b"" if index else integer(len(name), 7, 0) + name
        self.literal = integer(index, 4, 0x10 if name in SECRET else 0) + rest
        self.kept = integer(index, 6, 0x40) + rest
        self.numbers = {v: -at for (n, v), at in INDEX_OF_FIELD.items() if n == name}
        self.candidates: set[bytes] = set()
        self.misses = MISSES_TO_GIVE_UP if name in NEVER_KEPT or name in SECRET else 0
        self.wide = len(name) + ENTRY_OVERHEAD


class _Plan:
    """How to write blocks of one shape. pick: takes out what is not passed on; None: all is."""

    __slots__ = ("fields", "pick")

    def __init__(self, fields: list[_Field], pick: Pick | None) -> None:
        self.fields = fields
        self.pick = pick


class Encoder:
    """layout: that of most blocks. `resize` when the peer says how large its table may be."""

    __slots__ = (
        "_count", "_entries", "_fields", "_layout", "_limit", "_others", "_plans", "_size",
        "_update",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._limit = DEFAULT_TABLE_BYTES
        self._size = 0
        self._count = 0  # insertions so far
        self._entries: deque[tuple[_Field, bytes, int]] = deque()
        self._fields: dict[bytes, _Field] = {}
        self._plans: dict[Shape, _Plan] = {}
        self._others: dict[tuple[Layout, Shape], _Plan] = {}
        self._update = b""

    def resize(self, limit: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; we never use more than the default."""
        limit = min(limit, DEFAULT_TABLE_BYTES)
        if limit != self._limit:
            self._limit = limit
            self._evict(limit)
            self._update += integer(limit, 5, 0x20)  # RFC 7541 section 4.2

    def encode(self, pseudo: tuple[bytes, ...], headers: Headers) -> bytes:
        """A block in the usual layout; pseudo: its values."""
        plan = self._plans.get(headers.shape)
        if plan is None:
            plan = self._learn(headers.shape)
        return self._write(plan, pseudo, headers.values)

    def encode_as(self, layout: Layout, pseudo: tuple[bytes, ...], headers: Headers) -> bytes:
        """A block in another layout."""
        plan = self._others.get((layout, headers.shape))
        if plan is None:
            plan = self._plan(layout, headers.shape)
            remember(self._others, (layout, headers.shape), headers.shape, plan, MAX_PLANS)
        return self._write(plan, pseudo, headers.values)

    def _write(self, plan: _Plan, pseudo: tuple[bytes, ...], values: tuple[bytes, ...]) -> bytes:
        out = []
        if self._update:
            out.append(self._update)
            self._update = b""
        if plan.pick is not None:
            values = plan.pick(values)
        newest = self._count + FIRST_DYNAMIC - 1
        for field, value in zip(plan.fields, pseudo + values, strict=True):
            number = field.numbers.get(value)
            if number is not None:
                out.append(_INDEXED[newest - number if number >= 0 else -number])
                continue
            if field.misses < MISSES_TO_GIVE_UP and self._keep(field, value):
                newest += 1
                out.append(field.kept)
            else:
                out.append(field.literal)
            length = len(value)
            out.append(_LENGTHS[length] if length < 1024 else integer(length, 7, 0))
            out.append(value)
        return b"".join(out)

    def _learn(self, shape: Shape) -> _Plan:
        plan = self._plan(self._layout, shape)
        return remember(self._plans, shape, shape, plan, MAX_PLANS)

    def _plan(self, layout: Layout, shape: Shape) -> _Plan:
        rest, pick = edited_shape(shape, NOT_PASSED)
        return _Plan([self._field(name) for name in (*layout, *rest.names)], pick)

    def _field(self, name: bytes) -> _Field:
        found = self._fields.get(name)
        if found is None:
            found = _Field(name)
            if len(name) <= MAX_KEPT_NAME_BYTES and len(self._fields) < MAX_FIELDS:
                self._fields[name] = found
        return found

    def _keep(self, field: _Field, value: bytes) -> bool:
        """Is the value worth a place in the table? Then it gets it."""
        wide = field.wide + len(value)
        if value not in field.candidates or wide * 4 > self._limit:
            if len(field.candidates) >= MAX_CANDIDATES:
                field.candidates.clear()
            field.candidates.add(value)
            field.misses += 1
            return False
        field.candidates.discard(value)
        field.misses = max(0, field.misses - MISSES_TO_GIVE_UP // 4)
        self._evict(self._limit - wide)
        field.numbers[value] = self._count
        self._count += 1
        self._entries.append((field, value, wide))
        self._size += wide
        return True

    def _evict(self, limit: int) -> None:
        while self._size > limit:
            field, value, wide = self._entries.popleft()
            del field.numbers[value]
            self._size -= wide
