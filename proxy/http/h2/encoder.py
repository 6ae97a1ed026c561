"""HPACK encoding (RFC 7541): names and values in, a block out; one encoder per connection.

Names are kept as shapes, and a `_Plan` knows what is found of a shape once. Of its values some are
steady (the authority, the user agent) and some differ in every message. Steady values that come
together are a group: once all are in the dynamic table, what to write for them is known, and only
the others are put in between, as literals. Which are which is learnt: a value that is not in the
table is put there, and a place in which that happens too often is taken for one that always
differs. Nothing is Huffman-coded: that is dearer for us than the bytes it would save.
"""

from __future__ import annotations

from collections import deque

from proxy.http.h2.decoder import DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD
from proxy.http.h2.static import FIRST_DYNAMIC, INDEX_OF_FIELD, INDEX_OF_NAME
from proxy.http.headers import Headers, Pick, Shape, picker, remember

MAX_PLANS = 32
MAX_GROUPS = 32
MAX_FIELDS = 256
MAX_KEPT_NAME_BYTES = 64
# A place that had so many new values, and one in so many blocks, has values that always differ.
MISSES = 8
BLOCKS_PER_MISS = 8
# Values that seldom come twice, or must not be kept (RFC 7541 section 7.1.3).
FICKLE = frozenset(
    (b":path", b"content-length", b"age", b"etag", b"if-modified-since", b"if-none-match",
     b"location", b"set-cookie", b"x-request-id", b"traceparent", b"authorization",
     b"proxy-authorization", b"x-envoy-upstream-service-time")
)  # fmt: skip
SECRET = frozenset((b"authorization", b"proxy-authorization"))
NEVER_INDEXED = 0x10

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


_length = [integer(number, 7, 0) for number in range(1024)].__getitem__


def written(value: bytes) -> bytes:
    """A string literal (section 5.2)."""
    return integer(len(value), 7, 0) + value


class _Field:
    """What an encoder knows of a name. numbers: of the values that are in the dynamic table, in
    order of insertion."""

    __slots__ = ("first", "index", "name", "numbers")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.index = INDEX_OF_NAME.get(name, 0)
        self.first = NEVER_INDEXED if name in SECRET else 0
        self.numbers: dict[bytes, int] = {}


class _Plan:
    """How blocks of one shape are written. pick: takes out what is not passed on; None: all is.
    steady, fickle: take the values of either kind. groups: by their steady values, what is written
    before each of the fickle ones and behind the last, with the table's version that it is for."""

    __slots__ = ("blocks", "fickle", "fields", "groups", "misses", "pick", "places", "steady")

    def __init__(self, fields: list[_Field], pick: Pick | None) -> None:
        self.fields = fields
        self.pick = pick
        self.blocks = 0
        self.misses = [0] * len(fields)
        self.places = {at for at, field in enumerate(fields) if field.name in FICKLE}
        self.sort()

    def sort(self) -> None:
        """`places` are those whose values differ."""
        every = range(len(self.fields))
        self.steady = picker([at for at in every if at not in self.places])
        self.fickle = picker([at for at in every if at in self.places])
        self.groups: dict[tuple[bytes, ...], tuple[int, list[bytes]]] = {}

    def note_miss(self, at: int) -> None:
        self.misses[at] += 1
        if self.misses[at] >= MISSES and self.misses[at] * BLOCKS_PER_MISS > self.blocks:
            self.places.add(at)
            self.sort()


class Encoder:
    """layout: that of most blocks. `resize` when the peer says how large its table may be."""

    __slots__ = (
        "_count", "_entries", "_fields", "_layout", "_limit", "_others", "_plans", "_size",
        "_update", "_version",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._limit = DEFAULT_TABLE_BYTES
        self._size = 0
        self._count = 0  # insertions so far
        self._version = 0  # one more for each change of the table
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
            self._version += 1
            self._evict(limit)
            self._update += integer(limit, 5, 0x20)  # RFC 7541 section 4.2

    def encode(self, pseudo: tuple[bytes, ...], headers: Headers) -> bytes:
        """A block in the usual layout; pseudo: its values."""
        shape = headers.shape
        plan = self._plans.get(shape) or self._learn(shape)
        return self._write(plan, pseudo + headers.values)

    def _learn(self, shape: Shape) -> _Plan:
        return remember(self._plans, shape, shape, self._plan(self._layout, shape), MAX_PLANS)

    def encode_as(self, layout: Layout, pseudo: tuple[bytes, ...], headers: Headers) -> bytes:
        """A block in another layout."""
        plan = self._others.get((layout, headers.shape))
        if plan is None:
            plan = self._plan(layout, headers.shape)
            remember(self._others, (layout, headers.shape), headers.shape, plan, MAX_PLANS)
        return self._write(plan, pseudo + headers.values)

    def _plan(self, layout: Layout, shape: Shape) -> _Plan:
        names = (*layout, *shape.names)
        kept = [at for at, name in enumerate(names) if name not in NOT_PASSED]
        fields = [self._field(names[at]) for at in kept]
        return _Plan(fields, None if len(kept) == len(names) else picker(kept))

    def _field(self, name: bytes) -> _Field:
        found = self._fields.get(name)
        if found is None:
            found = _Field(name)
            if len(name) <= MAX_KEPT_NAME_BYTES and len(self._fields) < MAX_FIELDS:
                self._fields[name] = found
        return found

    # ------------------------------------------------------------------ one block

    def _write(self, plan: _Plan, values: tuple[bytes, ...]) -> bytes:
        if plan.pick is not None:
            values = plan.pick(values)
        plan.blocks += 1
        group = plan.groups.get(plan.steady(values))
        if group is None or group[0] != self._version:
            return self._write_new(plan, values)
        parts = group[1]
        parts[2::3] = fresh = plan.fickle(values)
        try:
            parts[1::3] = map(_length, map(len, fresh))
        except IndexError:  # a very long value
            parts[1::3] = [integer(len(value), 7, 0) for value in fresh]
        return b"".join(parts)

    def _write_new(self, plan: _Plan, values: tuple[bytes, ...]) -> bytes:
        """A block of steady values that were not seen together since the table changed."""
        out = [self._update]
        self._update = b""
        for at, (field, value) in enumerate(zip(plan.fields, values, strict=True)):
            if at not in plan.places:
                whole = self._indexed(field, value)
                if whole is None:
                    plan.note_miss(at)
                    whole = self._kept(field, value)
            elif field.index or field.numbers:
                whole = self._literal(field) + written(value)
            else:
                whole = self._kept(field, value)  # for its name
            out.append(whole)
        if len(plan.groups) >= MAX_GROUPS:
            plan.groups.clear()
        plan.groups[plan.steady(values)] = (self._version, self._parts(plan, values))
        return b"".join(out)

    def _parts(self, plan: _Plan, values: tuple[bytes, ...]) -> list[bytes]:
        """For a group, [what is before, length, value] of each fickle value, and what is behind."""
        parts: list[bytes] = []
        before = b""
        for at, (field, value) in enumerate(zip(plan.fields, values, strict=True)):
            if at in plan.places:
                parts += (before + self._literal(field), b"", b"")
                before = b""
            else:
                before += self._indexed(field, value) or self._literal(field) + written(value)
        parts.append(before)
        return parts

    def _indexed(self, field: _Field, value: bytes) -> bytes | None:
        """Section 6.1; None if it is in neither table."""
        number = field.numbers.get(value)
        if number is not None:
            return integer(FIRST_DYNAMIC + self._count - 1 - number, 7, 0x80)
        index = INDEX_OF_FIELD.get((field.name, value))
        return integer(index, 7, 0x80) if index is not None else None

    def _name(self, field: _Field, bits: int, first: int) -> bytes:
        """The beginning of a literal (section 6.2): the name's index, or the name."""
        index = field.index
        if not index and field.numbers:
            newest = next(reversed(field.numbers.values()))
            index = FIRST_DYNAMIC + self._count - 1 - newest
        return integer(index, bits, first) + (b"" if index else written(field.name))

    def _literal(self, field: _Field) -> bytes:
        return self._name(field, 4, field.first)

    # ------------------------------------------------------------------ the table

    def _kept(self, field: _Field, value: bytes) -> bytes:
        """A literal that goes into the table, unless it would fill a good part of it."""
        wide = len(field.name) + len(value) + ENTRY_OVERHEAD
        if wide * 4 > self._limit:
            return self._literal(field) + written(value)
        whole = self._name(field, 6, 0x40) + written(value)
        self._evict(self._limit - wide)
        field.numbers[value] = self._count
        self._entries.append((field, value, wide))
        self._count += 1
        self._version += 1
        self._size += wide
        return whole

    def _evict(self, limit: int) -> None:
        while self._size > limit:
            field, value, wide = self._entries.popleft()
            del field.numbers[value]
            self._size -= wide
