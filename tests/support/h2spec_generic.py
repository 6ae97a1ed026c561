"""h2spec's cases of chapter "generic": what every server must be able to do."""

from __future__ import annotations

from proxy.http.h2 import errors, frames
from proxy.http.h2.frames import (
    DATA,
    END_STREAM,
    HEADERS,
    PADDED,
    WITH_PRIORITY,
    frame,
    rst_stream,
    settings,
    window_update,
)
from tests.support.h2spec import (
    ANSWER,
    GET,
    GET_1,
    PING_US,
    POST_1,
    WHOLE,
    block,
    case,
    greeted,
    in_pieces,
    pong,
    priority,
    raw,
    request,
    settled,
    text,
)


def add() -> None:
    case("generic/1 | Sends a client connection preface", [], greeted)
    two = "generic/2 | Sends a "
    case(f"{two}PRIORITY frame on idle stream", [priority(1, 0), PING_US], pong)
    case(
        f"{two}WINDOW_UPDATE frame on half-closed (remote) stream",
        [GET_1, window_update(1, 100)],
        ANSWER,
    )
    half_closed = frame(HEADERS, WHOLE, 1, block(GET))
    case(
        f"{two}PRIORITY frame on half-closed (remote) stream", [half_closed, priority(1, 0)], ANSWER
    )
    case(
        f"{two}RST_STREAM frame on half-closed (remote) stream",
        [half_closed, rst_stream(1, errors.CANCEL), PING_US],
        pong,
    )
    case(f"{two}PRIORITY frame on closed stream", [GET_1, priority(1, 0), PING_US], pong)
    _frames()
    _messages()
    _representations()


THREE = "generic/3."


def _frames() -> None:
    case(f"{THREE}1 | Sends a DATA frame", [POST_1, frame(DATA, END_STREAM, 1, b"test")], ANSWER)
    case(
        f"{THREE}1 | Sends multiple DATA frames",
        [POST_1, frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test")],
        ANSWER,
    )
    case(
        f"{THREE}1 | Sends a DATA frame with padding",
        [POST_1, frame(DATA, END_STREAM | PADDED, 1, b"\x02test\0\0")],
        ANSWER,
    )
    case(f"{THREE}2 | Sends a HEADERS frame", [GET_1], ANSWER)
    case(
        f"{THREE}2 | Sends a HEADERS frame with padding",
        [frame(HEADERS, WHOLE | PADDED, 1, b"\x02" + block(GET) + b"\0\0")],
        ANSWER,
    )
    case(
        f"{THREE}2 | Sends a HEADERS frame with priority",
        [frame(HEADERS, WHOLE | WITH_PRIORITY, 1, b"\0\0\0\0\xff" + block(GET))],
        ANSWER,
    )
    for weight in (1, 256):
        case(
            f"{THREE}3 | Sends a PRIORITY frame with priority {weight}",
            [priority(1, 0, weight - 1), GET_1],
            ANSWER,
        )
    case(
        f"{THREE}3 | Sends a PRIORITY frame with stream dependency", [priority(1, 3), GET_1], ANSWER
    )
    case(
        f"{THREE}3 | Sends a PRIORITY frame with exclusive",
        [priority(1, 3, exclusive=True), GET_1],
        ANSWER,
    )
    case(
        f"{THREE}3 | Sends a PRIORITY frame for an idle stream, then send a HEADER frame for a "
        "lower stream ID",
        [priority(5, 0), GET_1],
        ANSWER,
    )
    _control()


def _control() -> None:
    case(
        f"{THREE}4 | Sends a RST_STREAM frame",
        [POST_1, rst_stream(1, errors.CANCEL), PING_US],
        pong,
    )
    case(f"{THREE}5 | Sends a SETTINGS frame", [settings([(3, 100)])], settled)
    case(f"{THREE}7 | Sends a PING frame", [PING_US], pong)
    case(f"{THREE}8 | Sends a GOAWAY frame", [frames.goaway(0, 0, b""), PING_US], pong)
    case(
        f"{THREE}9 | Sends a WINDOW_UPDATE frame with stream ID 0",
        [window_update(0, 1), PING_US],
        pong,
    )
    case(
        f"{THREE}9 | Sends a WINDOW_UPDATE frame with stream ID 1",
        [POST_1, window_update(1, 1), frame(DATA, END_STREAM, 1, b"x")],
        ANSWER,
    )


def _messages() -> None:
    fields = block(GET)
    case(f"{THREE}10 | Sends a CONTINUATION frame", in_pieces(fields[:3], fields[3:]), ANSWER)
    case(
        f"{THREE}10 | Sends multiple CONTINUATION frames",
        in_pieces(fields[:3], fields[3:5], fields[5:]),
        ANSWER,
    )
    for method in ("GET", "HEAD"):
        case(
            f"generic/4 | Sends a {method} request",
            [request([(":method", method), *GET[1:]])],
            ANSWER,
        )
    case("generic/4 | Sends a POST request", [POST_1, frame(DATA, END_STREAM, 1, b"test")], ANSWER)
    case(
        "generic/4 | Sends a POST request with trailers",
        [POST_1, frame(DATA, 0, 1, b"test"), request([("x-test", "ok")])],
        ANSWER,
    )


def _representations() -> None:
    five = "generic/5 | Sends a "
    case(
        f"{five}indexed header field representation",
        [frame(HEADERS, WHOLE, 1, b"\x82\x86\x84\x41\x01a")],
        ANSWER,
    )
    kinds = (
        ("with incremental indexing", 0x40, 6),
        ("without indexing", 0, 4),
        ("never indexed", 0x10, 4),
    )
    for kind, first, _ in kinds:
        literal = f"{five}literal header field {kind} - "
        coded = "(with Huffman coding)" if first == 0x40 else "(huffman encoded)"
        by_index = "(with Huffman coding)" if first in (0, 0x40) else "(huffman encoded)"
        user_agent = bytes([first | 58]) if first == 0x40 else bytes([first | 15, 58 - 15])
        for huffman in (False, True):
            indexed = user_agent + text(b"h2spec", huffman=huffman)
            case(
                f"{literal}indexed name" + (f" {by_index}" if huffman else ""),
                [raw(indexed)],
                ANSWER,
            )
            new = bytes([first]) + text(b"x-test", huffman=huffman) + text(b"h2", huffman=huffman)
            case(f"{literal}new name" + (f" {coded}" if huffman else ""), [raw(new)], ANSWER)
    size_update = b"\x3f\x61"  # to 128 bytes
    case(
        f"{five}dynamic table size update",
        [frame(HEADERS, WHOLE, 1, size_update + block(GET))],
        ANSWER,
    )
    case(
        "generic/5 | Sends multiple dynamic table size update",
        [frame(HEADERS, WHOLE, 1, size_update + b"\x3f\xe1\x1f" + block(GET))],
        ANSWER,
    )
