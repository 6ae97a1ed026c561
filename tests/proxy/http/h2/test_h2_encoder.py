"""HPACK blocks that we write: the library and our own decoder read back what was meant."""

from __future__ import annotations

from hpack import Decoder as Judge
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2.decoder import Decoder
from proxy.http.h2.encoder import MISSES, REQUEST, TRAILERS, Encoder
from proxy.http.headers import Headers

names = st.sampled_from([b"user-agent", b"x-a", b"x-b", b"cookie", b"x-request-id", b"accept"])
values = st.sampled_from([b"", b"1", b"a", b"b", b"v" * 126, b"v" * 127, b"w" * 2000, b"x" * 40])
Fields = list[tuple[bytes, bytes]]


def read(judge: Judge, block: bytes) -> Fields:
    return [(name, value) for name, value in judge.decode(block, raw=True)]


@given(
    st.lists(st.lists(st.tuples(names, values), max_size=6), max_size=40),
    st.lists(st.sampled_from([0, 64, 200, 4096, 9999]), max_size=4),
)
def test_what_is_written_is_read_back(blocks: list[Fields], tables: list[int]) -> None:
    """By two decoders, while the peer changes the size of its table."""
    encoder, judge, ours = Encoder(TRAILERS), Judge(max_header_list_size=1 << 24), Decoder()
    for number, fields in enumerate(blocks):
        if number % 5 == 4 and tables:
            encoder.resize(tables.pop())
        block = encoder.encode((), Headers.of(fields))
        assert read(judge, block) == fields
        assert list(zip(*ours.decode(block), strict=True)) == fields


def test_steady_values_are_one_byte_and_others_literals() -> None:
    encoder = Encoder(REQUEST)
    pseudo = (b"GET", b"http", b"/", b"a.example")
    for number in range(3 * MISSES):
        fields = [(b"user-agent", b"some agent"), (b"x-id", b"%08d" % number)]
        block = encoder.encode(pseudo, Headers.of(fields))
    assert b"some agent" not in block and b"x-id" not in block
    assert block.endswith(b"\x08%08d" % number)
    assert len(block) < 20


def test_a_value_that_changes_now_and_then_is_followed() -> None:
    encoder, judge = Encoder(TRAILERS), Judge()
    for number in range(600):
        fields = [(b"date", b"second %d" % (number // 50)), (b"server", b"weft")]
        block = encoder.encode((), Headers.of(fields))
        assert read(judge, block) == fields
    assert len(block) == 2


def test_connection_fields_are_left_out() -> None:
    encoder = Encoder(TRAILERS)
    fields = [(b"connection", b"close"), (b"x-a", b"1"), (b"transfer-encoding", b"chunked"),
              (b"host", b"a"), (b"upgrade", b"h2c"), (b"keep-alive", b"1")]  # fmt: skip
    for _ in range(2):
        block = encoder.encode((), Headers.of(fields))
    assert read(Judge(), encoder.encode((), Headers.of([]))) == []
    assert block == b"\xbe"


def test_secrets_stay_out_of_the_table() -> None:
    encoder, judge = Encoder(TRAILERS), Judge()
    for _ in range(3):
        block = encoder.encode((), Headers.of([(b"authorization", b"Bearer x")]))
        assert block == b"\x1f\x08\x08Bearer x"  # never indexed (RFC 7541 section 6.2.3)
        assert read(judge, block) == [(b"authorization", b"Bearer x")]


def test_many_shapes_and_values_are_bounded() -> None:
    encoder, judge = Encoder(TRAILERS), Judge()
    for number in range(2000):
        fields = [(b"x-%d" % (number % 700), b"%d" % number), (b"x-a", b"%d" % (number % 3))]
        assert read(judge, encoder.encode((), Headers.of(fields))) == fields
    assert len(encoder._plans) <= 32 and len(encoder._fields) <= 256
    assert encoder._size <= 4096 and len(encoder._entries) <= 4096 // 32
