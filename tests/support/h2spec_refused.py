"""h2spec's cases of chapters "http2" (RFC 7540) and "hpack" (RFC 7541): what must be refused."""

from __future__ import annotations

from hpack import Encoder

from proxy.http.h2 import errors, frames
from proxy.http.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    frame,
    rst_stream,
    settings,
    window_update,
)
from tests.support.h2spec import (
    ANSWER,
    CLOSED,
    COMPRESSION,
    FLOW,
    GET,
    GET_1,
    HUFFMAN,
    PING_US,
    POST,
    POST_1,
    PROTOCOL,
    SIZE,
    SLOW_1,
    WHOLE,
    Fields,
    block,
    case,
    connection,
    greeted,
    in_pieces,
    over,
    pong,
    priority,
    raw,
    request,
    settled,
    sizes,
    stream,
    text,
)


def add() -> None:
    _frames()
    _states()
    _data_and_headers()
    _control()
    _settings()
    _windows()
    _continuation()
    _messages()
    _hpack()


def _frames() -> None:
    case("http2/3.5 | Sends client connection preface", [], greeted)
    case("http2/3.5 | Sends invalid connection preface", [], over)
    case(
        "http2/4.1 | Sends a frame with unknown type", [frame(0x16, 0, 0, b"x" * 8), PING_US], pong
    )
    case("http2/4.1 | Sends a frame with undefined flag", [frame(PING, 0x16, 0, b"h2spec  ")], pong)
    case(
        "http2/4.1 | Sends a frame with reserved field bit",
        [frame(PING, 0, 1 << 31, b"h2spec  ")],
        pong,
    )
    full = frame(DATA, END_STREAM, 1, b"x" * 16384)
    case("http2/4.2 | Sends a DATA frame with 2^14 octets in length", [POST_1, full], ANSWER)
    case(
        "http2/4.2 | Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
        [POST_1, frame(DATA, END_STREAM, 1, b"x" * 16385)],
        stream(SIZE),
    )
    large = [*GET, *[(f"x-{number}", "v" * 4000) for number in range(5)]]
    huge = Encoder().encode(large, huffman=False)
    case(
        "http2/4.2 | Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
        [frame(HEADERS, WHOLE, 1, huge)],
        connection(SIZE),
    )
    case(
        "http2/4.3 | Sends invalid header block fragment",
        [frame(HEADERS, WHOLE, 1, b"\x40\x06a")],
        connection(COMPRESSION),
    )
    begun = frame(HEADERS, END_STREAM, 1, block(GET))
    case(
        "http2/4.3 | Sends a PRIORITY frame while sending the header blocks",
        [begun, priority(1, 0)],
        connection(PROTOCOL),
    )
    case(
        "http2/4.3 | Sends a HEADERS frame to another stream while sending the header blocks",
        [begun, request(GET, 3)],
        connection(PROTOCOL),
    )
    case(
        "http2/5.5 | Sends an unknown extension frame", [frame(0x16, 0, 0, b"x" * 8), PING_US], pong
    )
    case(
        "http2/5.5 | Sends an unknown extension frame in the middle of a header block",
        [begun, frame(0x16, 0, 0, b"x" * 8)],
        connection(PROTOCOL),
    )
    case(
        "http2/5.4.1 | Sends an invalid PING frame for connection close",
        [frame(PING, 0, 0, b"1234")],
        connection(SIZE),
    )
    case(
        "http2/8.2 | Sends a PUSH_PROMISE frame",
        [GET_1, frame(5, END_HEADERS, 1, b"\0\0\0\3" + block(GET))],
        connection(PROTOCOL),
    )


def _states() -> None:
    state = "http2/5.1 | "
    case(
        f"{state}idle: Sends a DATA frame", [frame(DATA, END_STREAM, 1, b"x")], connection(PROTOCOL)
    )
    case(f"{state}idle: Sends a RST_STREAM frame", [rst_stream(1, 8)], connection(PROTOCOL))
    case(f"{state}idle: Sends a WINDOW_UPDATE frame", [window_update(1, 100)], connection(PROTOCOL))
    case(
        f"{state}idle: Sends a CONTINUATION frame",
        [frame(CONTINUATION, END_HEADERS, 1, block(GET))],
        connection(PROTOCOL),
    )
    half = f"{state}half closed (remote): Sends a "
    case(f"{half}DATA frame", [SLOW_1, frame(DATA, END_STREAM, 1, b"x")], stream(CLOSED))
    case(f"{half}HEADERS frame", [SLOW_1, GET_1], stream(CLOSED))
    continuation = frame(CONTINUATION, END_HEADERS, 1, block(GET))
    case(f"{half}CONTINUATION frame", [SLOW_1, continuation], stream(CLOSED, PROTOCOL))
    gone = [POST_1, rst_stream(1, errors.CANCEL)]
    case(
        f"{state}closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
        [*gone, continuation],
        connection(CLOSED, PROTOCOL),
    )
    case(
        f"{state}closed: Sends a CONTINUATION frame",
        [GET_1, continuation],
        connection(CLOSED, PROTOCOL),
    )
    case(
        "http2/5.1.1 | Sends even-numbered stream identifier",
        [request(GET, 2)],
        connection(PROTOCOL),
    )
    case(
        "http2/5.1.2 | Sends HEADERS frames that causes their advertised concurrent stream limit "
        "to be exceeded",
        [request(POST, 2 * number + 1, end=False) for number in range(1025)],
        stream(PROTOCOL, errors.REFUSED_STREAM),
    )
    itself = b"\0\0\0\1\xff" + block(GET)
    case(
        "http2/5.3.1 | Sends HEADERS frame that depends on itself",
        [frame(HEADERS, WHOLE | WITH_PRIORITY, 1, itself)],
        stream(PROTOCOL),
    )
    case(
        "http2/5.3.1 | Sends PRIORITY frame that depend on itself",
        [priority(2, 2)],
        stream(PROTOCOL),
    )


def _data_and_headers() -> None:
    case(
        "http2/6.1 | Sends a DATA frame with 0x0 stream identifier",
        [frame(DATA, 1, 0, b"x")],
        connection(PROTOCOL),
    )
    case(
        'http2/6.1 | Sends a DATA frame on the stream that is not in "open" or "half-closed '
        '(local)" state',
        [SLOW_1, frame(DATA, END_STREAM, 1, b"x")],
        stream(CLOSED),
    )
    case(
        "http2/6.1 | Sends a DATA frame with invalid pad length",
        [POST_1, frame(DATA, END_STREAM | PADDED, 1, b"\x05test")],
        connection(PROTOCOL),
    )
    begun = frame(HEADERS, END_STREAM, 1, block(GET))
    six = "http2/6.2 | Sends a HEADERS frame "
    case(
        f"{six}without the END_HEADERS flag, and a PRIORITY frame",
        [begun, priority(1, 0)],
        connection(PROTOCOL),
    )
    case(
        "http2/6.2 | Sends a HEADERS frame to another stream while sending a HEADERS frame",
        [begun, request(GET, 3)],
        connection(PROTOCOL),
    )
    case(f"{six}with 0x0 stream identifier", [request(GET, 0)], connection(PROTOCOL))
    case(
        f"{six}with invalid pad length",
        [frame(HEADERS, WHOLE | PADDED, 1, b"\xff" + block(GET))],
        connection(PROTOCOL),
    )


def _control() -> None:
    case(
        "http2/6.3 | Sends a PRIORITY frame with 0x0 stream identifier",
        [priority(0, 0)],
        connection(PROTOCOL),
    )
    case(
        "http2/6.3 | Sends a PRIORITY frame with a length other than 5 octets",
        [POST_1, frame(PRIORITY, 0, 1, b"\x80\0\0\1")],
        stream(SIZE),
    )
    case(
        "http2/6.4 | Sends a RST_STREAM frame with 0x0 stream identifier",
        [rst_stream(0, 8)],
        connection(PROTOCOL),
    )
    case(
        "http2/6.4 | Sends a RST_STREAM frame on a idle stream",
        [rst_stream(1, 8)],
        connection(PROTOCOL),
    )
    case(
        "http2/6.4 | Sends a RST_STREAM frame with a length other than 4 octets",
        [POST_1, frame(RST_STREAM, 0, 1, b"\0\0\0")],
        connection(SIZE),
    )
    ping = "http2/6.7 | Sends a PING frame"
    case(ping, [PING_US], pong)
    case(f"{ping} with ACK", [frame(PING, ACK, 0, b"invalid "), PING_US], pong)
    case(
        f"{ping} with a stream identifier field value other than 0x0",
        [frame(PING, 0, 1, b"h2spec  ")],
        connection(PROTOCOL),
    )
    case(
        f"{ping} with a length field value other than 8",
        [frame(PING, 0, 0, b"h2spec")],
        connection(SIZE),
    )
    case(
        "http2/6.8 | Sends a GOAWAY frame with a stream identifier other than 0x0",
        [frame(GOAWAY, 0, 1, b"\0" * 8)],
        connection(PROTOCOL),
    )
    case(
        "http2/7 | Sends a GOAWAY frame with unknown error code",
        [frames.goaway(0, 255, b""), PING_US],
        pong,
    )
    case(
        "http2/7 | Sends a RST_STREAM frame with unknown error code",
        [POST_1, rst_stream(1, 255), PING_US],
        pong,
    )


def _settings() -> None:
    six = "http2/6.5 | Sends a SETTINGS frame with "
    case(f"{six}ACK flag and payload", [frame(SETTINGS, ACK, 0, b"\0")], connection(SIZE))
    case(
        f"{six}a stream identifier other than 0x0",
        [frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64")],
        connection(PROTOCOL),
    )
    case(
        f"{six}a length other than a multiple of 6 octets",
        [frame(SETTINGS, 0, 0, b"\0\3\0")],
        connection(SIZE),
    )
    values = "http2/6.5.2 | SETTINGS_"
    case(
        f"{values}ENABLE_PUSH (0x2): Sends the value other than 0 or 1",
        [settings([(2, 2)])],
        connection(PROTOCOL),
    )
    case(
        f"{values}INITIAL_WINDOW_SIZE (0x4): Sends the value above the maximum flow control window "
        "size",
        [settings([(4, 1 << 31)])],
        connection(FLOW),
    )
    case(
        f"{values}MAX_FRAME_SIZE (0x5): Sends the value below the initial value",
        [settings([(5, 16383)])],
        connection(PROTOCOL),
    )
    case(
        f"{values}MAX_FRAME_SIZE (0x5): Sends the value above the maximum allowed frame size",
        [settings([(5, 1 << 24)])],
        connection(PROTOCOL),
    )
    case(
        "http2/6.5.2 | Sends a SETTINGS frame with unknown identifier",
        [settings([(0xFF, 1)]), PING_US],
        pong,
    )
    case(
        "http2/6.5.3 | Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
        [settings([(4, 100), (4, 1)]), GET_1],
        sizes(1),
    )
    case("http2/6.5.3 | Sends a SETTINGS frame without ACK flag", [settings([(2, 0)])], settled)


def _windows() -> None:
    six = "http2/6.9 | Sends a WINDOW_UPDATE frame with "
    case(f"{six}a flow control window increment of 0", [window_update(0, 0)], connection(PROTOCOL))
    case(
        f"{six}a flow control window increment of 0 on a stream",
        [POST_1, window_update(1, 0)],
        stream(PROTOCOL),
    )
    case(
        f"{six}a length other than 4 octets",
        [frame(WINDOW_UPDATE, 0, 0, b"\0\0\1")],
        connection(SIZE),
    )
    nine = "http2/6.9.1 | Sends "
    case(
        f"{nine}SETTINGS frame to set the initial window size to 1 and sends HEADERS frame",
        [settings([(4, 1)]), GET_1],
        sizes(1),
    )
    above = "multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1"
    most = (1 << 31) - 1
    case(f"{nine}{above}", [window_update(0, most), window_update(0, most)], connection(FLOW))
    case(
        f"{nine}{above} on a stream",
        [POST_1, window_update(1, most), window_update(1, most)],
        stream(FLOW),
    )
    case(
        "http2/6.9.2 | Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame",
        [settings([(4, 0)]), GET_1, settings([(4, 1)])],
        sizes(1),
    )
    case(
        "http2/6.9.2 | Sends a SETTINGS frame for window size to be negative",
        [settings([(4, 3)]), GET_1, settings([(4, 2)]), window_update(1, 2)],
        sizes(3, 1),
    )
    case(
        "http2/6.9.2 | Sends a SETTINGS_INITIAL_WINDOW_SIZE settings with an exceeded maximum "
        "window size value",
        [settings([(4, 1 << 31)])],
        connection(FLOW),
    )


def _continuation() -> None:
    fields = block(GET)
    ten = "http2/6.10 | Sends "
    case(
        f"{ten}multiple CONTINUATION frames preceded by a HEADERS frame",
        in_pieces(fields[:2], fields[2:4], fields[4:]),
        ANSWER,
    )
    first = frame(HEADERS, END_STREAM, 1, fields[:3])
    more = frame(CONTINUATION, 0, 1, fields[3:5])
    last = frame(CONTINUATION, END_HEADERS, 1, fields[3:])
    case(
        f"{ten}a CONTINUATION frame followed by any frame other than CONTINUATION",
        [first, more, frame(DATA, END_STREAM, 1, b"x")],
        connection(PROTOCOL),
    )
    case(
        f"{ten}a CONTINUATION frame with 0x0 stream identifier",
        [first, frame(CONTINUATION, END_HEADERS, 0, fields[3:])],
        connection(PROTOCOL),
    )
    case(
        f"{ten}a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
        [POST_1, last],
        connection(PROTOCOL),
    )
    case(
        f"{ten}a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
        [first, last, last],
        connection(PROTOCOL),
    )
    case(
        f"{ten}a CONTINUATION frame preceded by a DATA frame",
        [POST_1, frame(DATA, 0, 1, b"x"), last],
        connection(PROTOCOL),
    )


def _messages() -> None:
    case(
        "http2/8.1 | Sends a second HEADERS frame without the END_STREAM flag",
        [POST_1, request([("x-test", "ok")], end=False)],
        stream(PROTOCOL),
    )
    eight = "http2/8.1.2"
    sends = "Sends a HEADERS frame that "
    bad: dict[str, Fields] = {
        f"{eight} | {sends}contains the header field name in uppercase letters": [
            *GET,
            ("X-TEST", "ok"),
        ],
        f"{eight}.1 | {sends}contains a unknown pseudo-header field": [*GET, (":test", "ok")],
        f"{eight}.1 | {sends}contains the pseudo-header field defined for response": [
            *GET,
            (":status", "200"),
        ],
        f"{eight}.1 | {sends}contains a pseudo-header field that appears in a header block after "
        "a regular header field": [*GET[:3], ("x-test", "ok"), GET[3]],
        f"{eight}.2 | {sends}contains the connection-specific header field": [
            *GET,
            ("connection", "keep-alive"),
        ],
        f'{eight}.2 | {sends}contains the TE header field with any value other than "trailers"': [
            *GET,
            ("te", "trailers, deflate"),
        ],
        f'{eight}.3 | Sends a HEADERS frame with empty ":path" pseudo-header field': [
            *GET[:2],
            (":path", ""),
            GET[3],
        ],
    }
    for number, name in enumerate((":method", ":scheme", ":path")):
        missing = [*GET[:number], *GET[number + 1 :]]
        bad[f'{eight}.3 | {sends}omits "{name}" pseudo-header field'] = missing
        twice = f'{eight}.3 | Sends a HEADERS frame with duplicated "{name}" pseudo-header field'
        bad[twice] = [*GET[: number + 1], GET[number], *GET[number + 1 :]]
    for title, fields in bad.items():
        case(title, [request(fields)], stream(PROTOCOL))
    case(
        f"{eight}.1 | {sends}contains a pseudo-header field as trailers",
        [POST_1, frame(DATA, 0, 1, b"x"), request([(":method", "200"), ("x-test", "ok")])],
        stream(PROTOCOL),
    )
    sized = request([*POST, ("content-length", "1")], end=False)
    six = f'{eight}.6 | Sends a HEADERS frame with the "content-length" header field which does '
    case(
        f"{six}not equal the DATA frame payload length",
        [sized, frame(DATA, END_STREAM, 1, b"test")],
        stream(PROTOCOL),
    )
    case(
        f"{six}not equal the sum of the multiple DATA frames payload length",
        [sized, frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test")],
        stream(PROTOCOL),
    )


def _hpack() -> None:
    coded = "5.2 | Sends a Huffman-encoded string literal representation "
    name = HUFFMAN.encode(b"x-test")  # it ends with seven bits of padding
    strings = {
        f"{coded}with padding longer than 7 bits": name + b"\xff",
        f"{coded}padded by zero": name[:-1] + b"\x80",
        f"{coded}containing the EOS symbol": name + b"\xff\xff\xff",
    }
    bad = {
        "2.3.3 | Sends a indexed header field representation with invalid index": b"\xff\xff\x7f",
        "2.3.3 | Sends a literal header field representation with invalid index": (
            b"\x7f\xff\x7f" + text(b"x")
        ),
        "4.2 | Sends a dynamic table size update at the end of header block": b"\x3f\x61",
        "6.1 | Sends a indexed header field representation with index 0": b"\x80",
    }
    for title, string in strings.items():
        bad[title] = bytes([0, 0x80 | len(string)]) + string + text(b"x")
    for title, rest in bad.items():
        case(f"hpack/{title}", [raw(rest)], connection(COMPRESSION))
    too_large = b"\x3f\xe2\x1f" + block(GET)  # 4097 bytes
    case(
        "hpack/6.3 | Sends a dynamic table size update larger than the value of "
        "SETTINGS_HEADER_TABLE_SIZE",
        [frame(HEADERS, WHOLE, 1, too_large)],
        connection(COMPRESSION),
    )
