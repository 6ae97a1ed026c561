"""Shapes, blocks and standing edits; that every cache has a bound."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http import headers as room
from proxy.http.headers import Edit, Headers, Shape, picker, shape_of

Pairs = list[tuple[bytes, bytes]]
names = st.sampled_from([b"a", b"A", b"b", b"B-c", b"d%s", b"%%"])
pairs = st.lists(st.tuples(names, st.binary(max_size=3)), max_size=6)
bounded = settings(max_examples=200, derandomize=True, deadline=None)


def lowered(listed: Pairs) -> Pairs:
    return [(name.lower(), value) for name, value in listed]


def test_a_shape_is_shared_and_keeps_the_spelling() -> None:
    one, other = Headers.of([(b"Host", b"a")]), Headers.of([(b"Host", b"b")])
    assert one.shape is other.shape
    assert one.shape.wire == (b"Host",) and one.shape.names == (b"host",)
    assert Headers.of([(b"host", b"a")]).shape is not one.shape


def test_look_ups() -> None:
    block = Headers.of([(b"A", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert block.get(b"a") == b"1" and block.get(b"c") is None
    assert block.all(b"a") == [b"1", b"3"] and block.all(b"c") == []
    assert block.joined(b"a") == b"1,3"
    assert block.joined(b"b") == b"2" and block.joined(b"c") is None
    assert b"b" in block and b"c" not in block and b"A" not in block
    assert list(block) == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")] and len(block) == 3


def test_a_copy_is_its_own() -> None:
    block = Headers.of([(b"a", b"1")])
    copy = Headers(block.shape, block.values)
    copy.set(b"a", b"2")
    copy.add(b"b", b"3")
    assert list(block) == [(b"a", b"1")] and list(copy) == [(b"a", b"2"), (b"b", b"3")]


@bounded
@given(pairs)
def test_the_template_writes_what_http_1_writes(listed: Pairs) -> None:
    """Names may hold a percent sign, which is a format's own."""
    block = Headers.of(listed)
    expected = b"".join(b"%b: %b\r\n" % pair for pair in listed)
    assert block.shape.template % block.values == expected


@bounded
@given(pairs, names, st.binary(max_size=3))
def test_set(listed: Pairs, name: bytes, value: bytes) -> None:
    name = name.lower()
    block = Headers.of(listed)
    before = lowered(listed)
    first = next((at for at, (known, _) in enumerate(before) if known == name), len(before))
    block.set(name, value)
    rest = [pair for pair in before[first + 1 :] if pair[0] != name]
    assert list(block) == [*before[:first], (name, value), *rest]


@bounded
@given(pairs, names)
def test_remove(listed: Pairs, name: bytes) -> None:
    name = name.lower()
    block = Headers.of(listed)
    kept = [pair for pair in lowered(listed) if pair[0] != name]
    assert block.remove(name) is (len(kept) != len(listed))
    assert list(block) == kept


@bounded
@given(pairs, st.lists(names, max_size=3), st.lists(names, max_size=3, unique=True))
def test_edit(listed: Pairs, remove: list[bytes], added: list[bytes]) -> None:
    """Twice on the same shape: learnt, then known."""
    gone = {name.lower() for name in remove}
    new = tuple(name.lower() for name in added if name.islower())
    edit = Edit(gone, new)
    values = tuple(b"%d" % at for at in range(len(new)))
    kept = [pair for pair in lowered(listed) if pair[0] not in gone | set(new)]
    for _ in range(2):
        block = Headers.of(listed)
        edit.apply(block, values)
        assert list(block) == kept + list(zip(new, values, strict=True))


@pytest.mark.parametrize("kept", [[], [1], [0, 2], [2, 0], [0, 1, 2]])
def test_picker(kept: list[int]) -> None:
    values = (b"a", b"b", b"c")
    assert picker(kept)(values) == tuple(values[at] for at in kept)


class TestBounds:
    """A peer that invents names must not make us grow."""

    def test_shapes(self) -> None:
        for at in range(3 * room.MAX_SHAPES):
            shape_of((b"invented-%d" % at,))
            assert len(room._shapes) <= room.MAX_SHAPES
        assert shape_of((b"x",)) is shape_of((b"x",))

    def test_edits(self) -> None:
        edit = Edit((b"x",))
        for at in range(3 * room.MAX_EDITS_PER_RULE):
            edit.apply(Headers(Shape((b"n%d" % at, b"x")), (b"1", b"2")))
            assert len(edit._known) <= room.MAX_EDITS_PER_RULE

    def test_a_dropped_shape_still_works(self) -> None:
        edit = Edit((b"x",), (b"y",))
        block = Headers.of([(b"x", b"1"), (b"z", b"2")])
        for at in range(room.MAX_SHAPES + 1):
            shape_of((b"again-%d" % at,))
        edit.apply(block, (b"3",))
        assert list(block) == [(b"z", b"2"), (b"y", b"3")]

    def test_long_names(self) -> None:
        long = b"n" * room.MAX_LASTING_BYTES
        assert shape_of((b"x", long)) is not shape_of((b"x", long))
        edit = Edit((b"x",))
        block = Headers.of([(b"x", b"1"), (long, b"2")])
        edit.apply(block)
        assert list(block) == [(long, b"2")] and not edit._known
