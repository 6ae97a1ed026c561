"""gRPC messages are counted however the body is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.filters.grpc_stats import MessageCounter


def framed(messages: list[bytes]) -> bytes:
    return b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages)


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 30), max_size=20))
def test_any_cut(messages: list[bytes], cuts: list[int]) -> None:
    data, counter, at, seen = framed(messages), MessageCounter(), 0, 0
    for cut in cuts:
        seen += counter.feed(data[at : at + cut])
        at += cut
    seen += counter.feed(data[at:])
    assert seen == counter.count == len(messages)
