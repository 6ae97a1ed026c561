"""The cases of h2spec, re-made for a server in memory: what is sent, and what must come of it.

A case is `(frames, what must come)`. After each, as h2spec does by sending on, the server is also
fed one more byte string: it must not raise anything but its own error. Expectations:

    ANSWER             a response to stream 1: HEADERS, DATA that ends it
    pong               our PING is acknowledged
    stream(*codes)     a reset of the stream, or the connection's end, with one of the codes
    connection(*codes) the connection's end with one of the codes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpack import Encoder
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from proxy.http.h2 import errors
from proxy.http.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    frame,
    settings,
)
from tests.support.h2_codec import HELLO, Frame, Server

Expect = Callable[[Server, list[Frame]], str]
Case = tuple[Sequence[bytes], Expect]
Fields = list[tuple[str, str]]

WHOLE = END_HEADERS | END_STREAM
HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
GET: Fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example")]
POST: Fields = [(":method", "POST"), *GET[1:]]


def block(fields: Fields) -> bytes:
    return Encoder().encode(fields)


def request(fields: Fields, stream_id: int = 1, *, end: bool = True, rest: bytes = b"") -> bytes:
    """HEADERS in one frame; rest: more of the block."""
    return frame(HEADERS, WHOLE if end else END_HEADERS, stream_id, block(fields) + rest)


GET_1 = request(GET)
POST_1 = request(POST, end=False)
# A request whose answer can't leave, so that the stream stays open on our side.
SLOW_1 = settings([(4, 0)]) + GET_1
PING_US = frame(PING, 0, 0, b"h2spec  ")


def ANSWER(server: Server, written: list[Frame]) -> str:
    if server.failed is not None:
        return f"the connection failed: {server.failed.detail}"
    kinds = [kind for kind, _, stream_id, _ in written if stream_id == 1]
    ended = any(kind == DATA and flags & END_STREAM for kind, flags, _, _ in written)
    return "" if kinds[:1] == [HEADERS] and ended else f"no answer: {written}"


def head(server: Server, written: list[Frame]) -> str:
    """At least the head of an answer."""
    return "" if any(kind == HEADERS for kind, *_ in written) else f"no answer: {written}"


def pong(server: Server, written: list[Frame]) -> str:
    found = (PING, ACK, 0, b"h2spec  ") in written
    return "" if found else f"no acknowledgement: {written}, {server.failed}"


def over(server: Server, written: list[Frame]) -> str:
    return "" if server.failed is not None else "the connection goes on"


def settled(server: Server, written: list[Frame]) -> str:
    return "" if (SETTINGS, ACK, 0, b"") in written else f"SETTINGS not acknowledged: {written}"


def sizes(*wanted: int) -> Expect:
    """DATA frames of these sizes."""

    def judge(server: Server, written: list[Frame]) -> str:
        found = tuple([len(payload) for kind, _, _, payload in written if kind == DATA])
        return "" if found == wanted else f"DATA of {found} bytes"

    return judge


def greeted(server: Server, written: list[Frame]) -> str:
    return "" if server.hello[:1] and server.hello[0][0] == SETTINGS else "no SETTINGS"


def _codes(written: list[Frame], kind: int) -> list[int]:
    """The error codes of RST_STREAM or GOAWAY frames."""
    at = 4 if kind == GOAWAY else 0
    return [
        int.from_bytes(data[at : at + 4], "big") for what, _, _, data in written if what == kind
    ]


def connection(*codes: int) -> Expect:
    def judge(server: Server, written: list[Frame]) -> str:
        if server.failed is None:
            return f"the connection goes on: {written}"
        found = _codes(written, GOAWAY)
        return "" if found and set(found) <= set(codes) else f"ended with {found}"

    return judge


def stream(*codes: int) -> Expect:
    def judge(server: Server, written: list[Frame]) -> str:
        found = _codes(written, RST_STREAM) + _codes(written, GOAWAY)
        return "" if found and set(found) <= set(codes) else f"found {found} in {written}"

    return judge


PROTOCOL = errors.PROTOCOL_ERROR
CLOSED = errors.STREAM_CLOSED
SIZE = errors.FRAME_SIZE_ERROR
FLOW = errors.FLOW_CONTROL_ERROR
COMPRESSION = errors.COMPRESSION_ERROR


def text(value: bytes, *, huffman: bool = False) -> bytes:
    """A string literal of less than 127 bytes."""
    coded = HUFFMAN.encode(value) if huffman else value
    return bytes([len(coded) | (128 if huffman else 0)]) + coded


def raw(rest: bytes, stream_id: int = 1) -> bytes:
    """A GET whose block goes on with `rest` as it is."""
    return request(GET, stream_id, rest=rest)


def priority(stream_id: int, depends: int, weight: int = 15, *, exclusive: bool = False) -> bytes:
    number = depends | (1 << 31 if exclusive else 0)
    return frame(PRIORITY, 0, stream_id, number.to_bytes(4, "big") + bytes([weight]))


def in_pieces(*pieces: bytes, end: bool = True) -> list[bytes]:
    """A block in HEADERS and CONTINUATIONs."""
    last = len(pieces) - 1
    return [
        frame(
            CONTINUATION if number else HEADERS,
            (END_HEADERS if number == last else 0) | (END_STREAM if end and not number else 0),
            1,
            piece,
        )
        for number, piece in enumerate(pieces)
    ]


CASES: dict[str, Case] = {}


def case(title: str, sent: Sequence[bytes], expect: Expect) -> None:
    assert title not in CASES, title
    CASES[title] = sent, expect


def judged(title: str) -> str:
    """What is wrong; '' for nothing."""
    sent, expect = CASES[title]
    bad = title.endswith("Sends invalid connection preface")
    server = Server(hello=b"INVALID CONNECTION PREFACE\r\n\r\n" if bad else HELLO)
    written = [one for data in sent for one in server.fed(data)]
    reason = expect(server, written)
    server.fed(PING_US)
    return reason
