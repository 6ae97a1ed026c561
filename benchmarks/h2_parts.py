"""The parts of an HTTP/2 exchange for `benchmarks.parts`: header values differ in every message.

Two kinds of peer: one that Huffman-codes and puts every new value into the table, as the hpack
library writes and much as Envoy and browsers do, and one of our own. `hpack` stands beside.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import cycle
from typing import Any

import hpack

from proxy.http.h2 import ClientConnection, Options, ServerConnection, frames
from proxy.http.h2.decoder import Decoder
from proxy.http.h2.encoder import REQUEST, RESPONSE, Encoder
from proxy.http.headers import Headers
from proxy.http.message import Request, Response

Body = Callable[[], object]
Fields = list[tuple[bytes, bytes]]
MESSAGES = 512
STREAMS = 8
ANSWER = b'{"status": "shipped", "n": 1}'


def _hex(dice: random.Random, digits: int) -> bytes:
    return b"%0*x" % (digits, dice.getrandbits(4 * digits))


def requests() -> list[Fields]:
    """Eleven fields, seven of which are the same in no two."""
    dice = random.Random(1)
    return [
        [
            (b":method", b"GET"), (b":scheme", b"http"),
            (b":path", b"/api/v1/users/%d/orders?page=%d" % (dice.randrange(10**6), number)),
            (b":authority", b"shop.example.com"),
            (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
            (b"accept", b"application/json"), (b"accept-encoding", b"gzip, deflate, br"),
            (b"cookie", b"session=%s; theme=dark" % _hex(dice, 24)),
            (b"x-request-id", _hex(dice, 32)),
            (b"traceparent", b"00-%s-%s-01" % (_hex(dice, 32), _hex(dice, 16))),
            (b"x-user", b"u%d" % dice.randrange(10**6)),
        ]
        for number in range(MESSAGES)
    ]  # fmt: skip


def responses() -> list[Fields]:
    dice = random.Random(2)
    return [
        [
            (b":status", b"200"), (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(ANSWER)), (b"server", b"backend"),
            (b"date", b"Sat, 21 Nov 2026 08:00:%02d GMT" % (number // 100)),
            (b"etag", _hex(dice, 16)), (b"x-request-id", _hex(dice, 32)),
        ]
        for number in range(MESSAGES)
    ]  # fmt: skip


def _foreign(messages: list[Fields]) -> list[bytes]:
    encoder = hpack.Encoder()
    return [encoder.encode(fields) for fields in messages]


def _own(messages: list[Fields]) -> list[bytes]:
    layout = RESPONSE if messages[0][0][0] == b":status" else REQUEST
    encoder, cut = Encoder(layout), len(layout)
    return [
        encoder.encode(tuple([value for _, value in fields[:cut]]), Headers.of(fields[cut:]))
        for fields in messages
    ]


def _decode(blocks: list[bytes]) -> Callable[[], Body]:
    """All blocks of a connection, told per block."""

    def prepare() -> Body:
        state: dict[str, Any] = {}
        turn = cycle(range(len(blocks)))

        def decode() -> object:
            number = next(turn)
            if not number:
                state["decoder"] = Decoder()
            return state["decoder"].decode(blocks[number])

        return decode

    return prepare


def _judge(blocks: list[bytes]) -> Callable[[], Body]:
    def prepare() -> Body:
        state: dict[str, Any] = {}
        turn = cycle(range(len(blocks)))

        def decode() -> object:
            number = next(turn)
            if not number:
                state["decoder"] = hpack.Decoder()
            return state["decoder"].decode(blocks[number], raw=True)

        return decode

    return prepare


def _encode(messages: list[Fields]) -> Callable[[], Body]:
    def prepare() -> Body:
        layout = RESPONSE if messages[0][0][0] == b":status" else REQUEST
        cut = len(layout)
        encoder = Encoder(layout)
        written = cycle(
            [
                (tuple([value for _, value in fields[:cut]]), Headers.of(fields[cut:]))
                for fields in messages
            ]
        )
        return lambda: encoder.encode(*next(written))

    return prepare


class _Relay:
    """Both sinks: what the client asks goes to the upstream, what that answers goes back."""

    def __init__(self) -> None:
        self.server = ServerConnection(self, Options(), self._write)
        self.client = ClientConnection(self, Options(), self._write)
        self.streams: dict[int, int] = {}

    def _write(self, data: bytes) -> None: ...

    def on_request(self, stream_id: int, request: Request, data: bytes, end: bool) -> None:
        upstream_id = self.client.new_stream()
        self.streams[upstream_id] = stream_id
        self.client.send_head(upstream_id, request, end, data)

    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None:
        self.server.send_head(self.streams.pop(stream_id), response, end, data)

    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None: ...
    def on_data(self, stream_id: int, data: bytes, end: bool) -> None: ...
    def on_trailers(self, stream_id: int, headers: Headers) -> None: ...
    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None: ...
    def on_window(self, stream_id: int) -> None: ...
    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None: ...
    def on_settings(self) -> None: ...
    def on_ping_ack(self, data: bytes) -> None: ...
    def count(self, name: str) -> None: ...
    def unsent(self) -> int:
        return 0


def _exchanges(asked: list[bytes], answered: list[bytes]) -> Callable[[], Body]:
    """Eight at a time on one connection each side."""
    numbers = range(0, MESSAGES, STREAMS)
    reads = [
        (
            b"".join(
                frames.header_frames(2 * number + 1, asked[number], True, 16384)
                for number in range(first, first + STREAMS)
            ),
            b"".join(
                frames.header_frames(2 * number + 1, answered[number], False, 16384)
                + frames.frame(frames.DATA, frames.END_STREAM, 2 * number + 1, ANSWER)
                for number in range(first, first + STREAMS)
            ),
        )
        for first in numbers
    ]
    hello = frames.settings([]) + frames.window_update(0, 1 << 30)

    def prepare() -> Body:
        state: dict[str, _Relay] = {}
        turn = cycle(range(len(reads)))

        def relay() -> None:
            number = next(turn)
            if not number:
                fresh = state["relay"] = _Relay()
                fresh.server.feed(frames.PREFACE + hello)
                fresh.client.feed(hello)
            question, answer = reads[number]
            state["relay"].server.feed(question)
            state["relay"].client.feed(answer)

        return relay

    return prepare


def parts() -> dict[str, Callable[[], Body]]:
    asked, answered = requests(), responses()
    found: dict[str, Callable[[], Body]] = {}
    for peer, write in (("a foreign peer", _foreign), ("our own", _own)):
        questions, answers = write(asked), write(answered)
        found[f"h2: decode a request of eleven fields of {peer}"] = _decode(questions)
        found[f"h2: decode a response of seven fields of {peer}"] = _decode(answers)
        found[f"h2: relay {STREAMS} exchanges, heads of {peer}"] = _exchanges(questions, answers)
    found["h2: decode a request with the hpack library"] = _judge(_foreign(asked))
    found["h2: encode a request"] = _encode(asked)
    found["h2: encode a response"] = _encode(answered)
    return found
