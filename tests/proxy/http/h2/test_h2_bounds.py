"""Bounds of HTTP/2 to the byte and to the frame: windows, lengths, trailers, WINDOW_UPDATE. What
Envoy 1.40 does at each was seen on it."""

from __future__ import annotations

import dataclasses

import pytest
from hpack import Encoder

from proxy.http.h2 import Options, errors, frames
from proxy.http.h2.errors import MESSAGING
from proxy.http.h2.frames import frame
from tests.support.h2_codec import Server
from tests.support.h2spec import GET, POST, POST_1, request

WHOLE = frames.END_HEADERS | frames.END_STREAM
WINDOW_BYTES = 65535
WIDE = Options(
    initial_stream_window_size=WINDOW_BYTES, initial_connection_window_size=4 * WINDOW_BYTES
)
Fields = list[tuple[bytes, bytes]]


def serving(wire: bytes, options: Options | None = None) -> Server:
    """A server that leaves its requests unanswered, after `wire`."""
    server = Server(options)
    server.sink.answering = None
    server.fed(wire)
    return server


def data(size: int, *, end: bool = False) -> bytes:
    """So many bytes on stream 1, in frames that are no longer than allowed."""
    longest = frames.MIN_FRAME_BYTES
    whole = [frame(frames.DATA, 0, 1, b"x" * longest)] * (size // longest)
    return b"".join([*whole, frame(frames.DATA, int(end), 1, b"x" * (size % longest))])


def trailers(fields: Fields, *, end: bool = True) -> bytes:
    block = Encoder().encode(fields, huffman=False)
    return frame(frames.HEADERS, WHOLE if end else frames.END_HEADERS, 1, block)


def was_reset(server: Server, code: int, detail: str) -> bool:
    return bool(server.sink.events[-1] == ["reset", 1, code, detail])


def test_a_stream_that_overruns_its_window_is_reset() -> None:
    """RFC 9113 section 6.9.1: also when the connection's window has room."""
    server = serving(POST_1, WIDE)
    server.codec.pause(1)
    server.fed(data(WINDOW_BYTES))
    assert server.sink.events[-1][0] == "request"
    written = server.fed(data(1))
    assert written == [(frames.RST_STREAM, 0, 1, b"\0\0\0\3")]
    assert server.failed is None
    assert was_reset(server, errors.FLOW_CONTROL_ERROR, MESSAGING)


def test_the_window_of_a_stream_that_has_ended_is_not_opened_again() -> None:
    for end in (False, True):
        server = serving(POST_1, WIDE)
        server.codec.pause(1)
        server.fed(data(WINDOW_BYTES - 1) + data(1, end=end))
        server.codec.resume(1)
        opened = [stream for kind, _, stream, _ in server.fed(b"") if kind == 8]
        assert opened == ([] if end else [1])


def test_a_body_is_too_long_before_it_ends() -> None:
    head = request([*POST, ("content-length", "5")], end=False)
    server = serving(head + data(5))
    assert server.sink.events[-1][0] == "request"
    server.fed(data(1))
    assert was_reset(server, errors.PROTOCOL_ERROR, MESSAGING)


@pytest.mark.parametrize(("sent", "good"), [(4, False), (5, True)])
def test_trailers_come_behind_the_whole_body(sent: int, good: bool) -> None:
    head = request([*POST, ("content-length", "5")], end=False)
    server = serving(head + data(sent))
    server.fed(trailers([(b"x-end", b"1")]))
    assert (server.failed is None) == good
    assert was_reset(server, errors.PROTOCOL_ERROR, MESSAGING) != good


FITS = Options(max_headers=4, max_header_bytes=1000)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ([(b"x-%d" % n, b"") for n in range(4)], ""),
        ([(b"x-%d" % n, b"") for n in range(5)], "http2.too_many_headers"),
    ],
)
def test_too_many_trailers(fields: Fields, detail: str) -> None:
    server = serving(POST_1 + trailers(fields), FITS)
    assert server.failed is None and "trailers" in server.sink.counts
    assert ("header_overflow" in server.sink.counts) == bool(detail)
    assert was_reset(server, errors.INTERNAL_ERROR, detail) == bool(detail)


def test_trailers_of_too_many_bytes() -> None:
    """Envoy names them otherwise and counts no header_overflow."""
    sizes = {size: [(b"x-end", b"v" * size)] for size in range(900, 1001)}
    ends = {size: serving(POST_1 + trailers(one), FITS) for size, one in sizes.items()}
    assert all(server.failed is None for server in ends.values())
    reset = [size for size, server in ends.items() if server.sink.events[-1][0] == "reset"]
    assert reset and min(reset) > 900
    server = ends[reset[0]]
    assert was_reset(server, errors.INTERNAL_ERROR, "http2.header_list_size_too_large")
    assert "header_overflow" not in server.sink.counts and "trailers" in server.sink.counts


def test_window_updates_are_allowed_for_what_was_opened_and_sent() -> None:
    """Envoy: 5, 2 for each stream, and 2 times 10 for each DATA frame that we sent."""
    few = dataclasses.replace(Options(), max_inbound_window_update_frames_per_data_frame_sent=10)
    server = Server(few)
    server.fed(request(GET, 1) + request(GET, 3))  # each is answered with one DATA frame
    allowed = 5 + 2 * (2 + 10 * 2)
    server.fed(frames.window_update(0, 1) * allowed)
    assert server.failed is None
    server.fed(frames.window_update(0, 1))
    assert server.failed is not None and server.failed.code == errors.ENHANCE_YOUR_CALM
    assert "inbound_window_update_frames_flood" in server.sink.counts
