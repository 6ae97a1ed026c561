"""When things happened to a stream, and how long they took.

Points are monotonic seconds, 0.0 where it never came to that. Several of Envoy's points are one
here: a request is sent in the turn in which it is read, and an answer when it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

Point = Callable[["Logged"], float]


def _started(stream: Logged) -> float:
    return stream.started


def _request_end(stream: Logged) -> float:
    """A request that was answered before it was sent anywhere has none, unless its head was all
    of it."""
    if stream.sent_at:
        return stream.sent_at
    return stream.started if stream.request_done and not stream.request.length else 0.0


def _sent(stream: Logged) -> float:
    return stream.sent_at if stream.last_up is not None else 0.0


def _answered(stream: Logged) -> float:
    return stream.answered_at


def _answering(stream: Logged) -> float:
    return stream.answered_at or (stream.ended if stream.status else 0.0)


def _answered_whole(stream: Logged) -> float:
    return stream.ended if stream.answered_at else 0.0


def _ended(stream: Logged) -> float:
    return stream.ended


POINTS: Mapping[str, Point] = {
    "DS_RX_BEG": _started,
    "DS_RX_END": _request_end,
    "US_TX_BEG": _sent,
    "US_TX_END": _sent,
    "US_RX_BEG": _answered,
    "US_RX_END": _answered_whole,
    "DS_TX_BEG": _answering,
    "DS_TX_END": _ended,
}
"""Of `%COMMON_DURATION%`."""
UNITS: Mapping[str, int] = {"ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def common_duration(begin: str, end: str, unit: str) -> Callable[[Logged], int | None]:
    """None where one of the two points was never reached, or they are the wrong way about."""
    first, last, scale = POINTS[begin], POINTS[end], UNITS[unit or "ms"]

    def duration(stream: Logged) -> int | None:
        from_s, to_s = first(stream), last(stream)
        if not from_s or not to_s or to_s < from_s:
            return None
        return int((to_s - from_s) * scale)

    return duration


def duration_ms(stream: Logged) -> int:
    """Up to now while the stream runs."""
    return int(((stream.ended or monotonic()) - stream.started) * 1000)


DURATIONS: Mapping[str, Callable[[Logged], int | None]] = {
    "REQUEST_DURATION": common_duration("DS_RX_BEG", "DS_RX_END", "ms"),
    "REQUEST_TX_DURATION": common_duration("DS_RX_BEG", "US_TX_END", "ms"),
    "RESPONSE_DURATION": common_duration("DS_RX_BEG", "US_RX_BEG", "ms"),
    "RESPONSE_TX_DURATION": common_duration("US_RX_BEG", "DS_TX_END", "ms"),
}
