"""A watch's bytes, cut anywhere."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.kubernetes import frames
from controlplane.sources.kubernetes.answers import Broken, Event
from controlplane.sources.kubernetes.frames import Lines

EVENTS = [
    Event("ADDED", {"metadata": {"name": "ä\n"}}),
    Event("BOOKMARK", {}),
    Event("X", {"a": 1}),
]
TEXT = b"".join(json.dumps({"type": t, "object": o}).encode() + b"\n" for t, o in EVENTS)


@given(st.lists(st.integers(0, len(TEXT)), max_size=20))
def test_however_it_is_cut(cuts: list[int]) -> None:
    lines, found = Lines(), list[Event]()
    places = [0, *sorted(cuts), len(TEXT)]
    for start, end in pairwise(places):
        found += lines.feed(TEXT[start:end])
    lines.end()
    assert found == EVENTS


def test_an_end_within_an_event_is_no_end() -> None:
    lines = Lines()
    assert len(list(lines.feed(TEXT[:-3]))) == len(EVENTS) - 1
    with pytest.raises(Broken, match="ended within an event"):
        lines.end()


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"type": "ADDED"}',
        b'{"type": 1, "object": {}}',
        b'{"type": "ADDED", "object": 3}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(Broken, match="no event of a watch"):
        list(Lines().feed(line + b"\n"))


def test_an_endless_line_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_LINE_BYTES", 1000)
    lines = Lines()
    with pytest.raises(Broken, match="more than 1000 bytes"):
        for _ in range(1000):
            list(lines.feed(b"x" * 10))


def test_blank_lines_are_nothing() -> None:
    assert list(Lines().feed(b"\n \r\n\n")) == []
