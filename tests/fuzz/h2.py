"""HTTP/2: a server's connection is fed what no client may say. It answers, resets or fails, the
same however the bytes are split, with a bounded answer; the h2 library reads the same requests.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from proxy.http.h2 import PREFACE, ConnectionFailed, Options, ServerConnection
from proxy.http.headers import Headers
from proxy.http.message import Request, Response

ANSWER_BYTES = 600  # of one request, at most
FRAME_BYTES = 64  # of any frame's answer, at most
HELLO_BYTES = 200
OPTIONS = Options()


class Sink:
    """Answers each request when it is whole. `events` are what was told, a body in one piece."""

    def __init__(self) -> None:
        self.out = 0
        self.bodies: dict[int, bytearray] = {}
        self.heads: dict[int, Request] = {}
        self.whole: list[int] = []
        self.resets: list[tuple[int, int, str]] = []
        self.connection = ServerConnection(self, OPTIONS, self.write)

    def write(self, data: bytes) -> None:
        self.out += len(data)

    def on_request(self, stream_id: int, request: Request, data: bytes, end: bool) -> None:
        self.heads[stream_id], self.bodies[stream_id] = request, bytearray(data)
        if end:
            self._answer(stream_id)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        self.bodies[stream_id] += data
        if end:
            self._answer(stream_id)

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        self._answer(stream_id)

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        self.resets.append((stream_id, error_code, detail))

    def on_window(self, stream_id: int) -> None:
        """What was queued has left."""

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        """The client says that it leaves."""

    def on_settings(self) -> None:
        """The client's settings are in force."""

    def on_ping_ack(self, data: bytes) -> None:
        """We sent none."""

    def count(self, name: str) -> None:
        """A rare event."""

    def unsent(self) -> int:
        return 0

    def _answer(self, stream_id: int) -> None:
        self.whole.append(stream_id)
        response = Response(200, Headers.of([(b"x-a", b"b")]), 120)
        self.connection.send_head(stream_id, response, False)
        self.connection.send_data(stream_id, b"answer" * 20, True)


def check(data: bytes, at: int) -> Hashable:
    """The frames in `data` after the preface, whole and split at `at`."""
    whole, failed = _fed([PREFACE + data])
    split, failed_split = _fed([PREFACE + data[:at], *([data[at:]] if data[at:] else [])])
    told = (whole.whole, whole.bodies, whole.resets, failed)
    assert told == (split.whole, split.bodies, split.resets, failed_split), "split otherwise"
    bound = HELLO_BYTES + len(whole.heads) * ANSWER_BYTES + (len(data) // 9 + 1) * FRAME_BYTES
    assert whole.out <= bound, f"{whole.out} bytes for {len(data)}"
    if whole.whole:
        _agree(whole, data)
    return failed, tuple(whole.resets[:3]), len(whole.whole), len(whole.heads)


def _fed(pieces: list[bytes]) -> tuple[Sink, str]:
    sink = Sink()
    sink.connection.start()
    try:
        for piece in pieces:
            sink.connection.feed(piece)
    except ConnectionFailed as failure:
        return sink, f"{failure.code} {failure.detail}"
    return sink, ""


def _agree(sink: Sink, data: bytes) -> None:
    """What the h2 library reads as a whole request before it objects must be the same request."""
    config = h2.config.H2Configuration(client_side=False, header_encoding=None)
    judge = h2.connection.H2Connection(config)
    judge.initiate_connection()
    heads: dict[int, dict[bytes, bytes]] = {}
    bodies: dict[int, bytearray] = {}
    try:
        events = judge.receive_data(PREFACE + data)
    except (h2.exceptions.ProtocolError, ValueError):
        return
    for event in events:
        if isinstance(event, h2.events.RequestReceived):
            heads[event.stream_id] = dict(event.headers)
            bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.DataReceived):
            bodies[event.stream_id] += event.data
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in sink.whole:
            number = event.stream_id
            request = sink.heads[number]
            told = (request.method, request.path, bytes(sink.bodies[number]))
            head = heads[number]
            wanted = (head.get(b":method"), head.get(b":path", request.path), bytes(bodies[number]))
            assert told == wanted, f"stream {number}: Weft reads {told}, h2 {wanted}"


# --------------------------------------------------------------------------- seeds


def _request(encoder: Encoder, stream: int, body: bytes = b"", **more: Any) -> list[Frame]:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
    fields += list(more.items())
    flags = ["END_HEADERS"] if body else ["END_HEADERS", "END_STREAM"]
    frames: list[Frame] = [HeadersFrame(stream, encoder.encode(fields), flags=flags)]
    return [*frames, DataFrame(stream, body, flags=["END_STREAM"])] if body else frames


def _seeds() -> tuple[bytes, ...]:
    encoder = Encoder()
    settings = SettingsFrame(0, {4: 100, 3: 10})
    block = encoder.encode(
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("x", "y" * 50)]
    )
    split = [
        HeadersFrame(5, block[:10], flags=["END_STREAM"]),
        ContinuationFrame(5, block[10:], flags=["END_HEADERS"]),
    ]
    trailers = HeadersFrame(3, encoder.encode([("t", "1")]), flags=["END_HEADERS", "END_STREAM"])
    padded = DataFrame(7, b"data", flags=["END_STREAM", "PADDED"], pad_length=5)
    control = [
        PingFrame(0, b"12345678"),
        WindowUpdateFrame(0, window_increment=100),
        PriorityFrame(9, depends_on=1, stream_weight=3),
        RstStreamFrame(1, error_code=8),
        GoAwayFrame(0, last_stream_id=1, error_code=0),
        SettingsFrame(0, flags=["ACK"]),
    ]
    conversations: list[list[Frame]] = [
        [settings, *_request(encoder, 1), *_request(encoder, 3, b"body")],
        [settings, *_request(Encoder(), 1, b"b" * 300, te="trailers"), *control],
        [settings, *_request(Encoder(), 1), *split, control[0]],
        [settings, *_request(Encoder(), 3, b"x")[:1], DataFrame(3, b"part"), trailers],
        [
            settings,
            *_request(Encoder(), 7, b"x")[:1],
            WindowUpdateFrame(7, window_increment=9),
            padded,
        ],
    ]
    return tuple(b"".join(frame.serialize() for frame in frames) for frames in conversations)


SEEDS = _seeds()
WORDS = (
    *(
        frame.serialize()
        for frame in (
            SettingsFrame(0, {4: 0}),
            SettingsFrame(0, {1: 0}),
            SettingsFrame(0, {5: 16384}),
            PingFrame(0, b"abcdefgh"),
            WindowUpdateFrame(0, window_increment=1),
            WindowUpdateFrame(1, window_increment=0x7FFFFFFF),
            RstStreamFrame(1, error_code=0),
            DataFrame(1, b""),
            DataFrame(1, b"x", flags=["END_STREAM"]),
            HeadersFrame(9, b"\x82\x86\x84\x41\x01a", flags=["END_HEADERS", "END_STREAM"]),
            HeadersFrame(11, b"\x83\x86\x84", flags=["END_HEADERS"]),
            ContinuationFrame(1, b"\x82"),
            GoAwayFrame(0),
            PriorityFrame(3, depends_on=3),
        )
    ),
    b"\x00\x00\x00\x0b\x00\x00\x00\x00\x01",
    b"\x00\x40\x01",
    b"\x00\x00\x08\x05\x04\x00\x00\x00\x01",
    b"\x82",
    b"\x86",
    b"\x84",
    b"\x00\x01",
    b"\x7f\xff\xff\xff",
    b"\x05host\x00",
    b"\x01",
)
