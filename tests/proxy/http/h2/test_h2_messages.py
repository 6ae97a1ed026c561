"""What requests and responses of HTTP/2 become, and which are refused with which of Envoy's words.
Each verdict on a request was seen on Envoy 1.40."""

from __future__ import annotations

import dataclasses

import pytest
from hpack import Encoder

from proxy.http.h2 import ClientConnection, Options, errors, frames
from proxy.http.h2.errors import INVALID_FIELD, MESSAGING
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Request, Response
from tests.support.h2_codec import HELLO, Listener, Server

WHOLE = frames.END_HEADERS | frames.END_STREAM
TUNNELS = Options(allow_connect=True)
METHOD, SCHEME = (b":method", b"GET"), (b":scheme", b"http")
AUTHORITY, PATH = (b":authority", b"a"), (b":path", b"/")
GET = [METHOD, SCHEME, AUTHORITY, PATH]
Fields = list[tuple[bytes, bytes]]


def without(name: bytes, *more: tuple[bytes, bytes]) -> Fields:
    """A GET without the pseudo-header field `name`, and with `more` of them."""
    kept = [field for field in GET if field[0] != name]
    return [*more, *kept]


def sent(fields: Fields, options: Options = TUNNELS, *, end: bool = True) -> Server:
    server = Server(options)
    server.sink.answering = None
    flags = WHOLE if end else frames.END_HEADERS
    server.fed(frames.frame(frames.HEADERS, flags, 1, Encoder().encode(fields, huffman=False)))
    return server


def request_of(fields: Fields, options: Options = TUNNELS, *, end: bool = True) -> Request:
    """The request that a sink gets."""
    found: list[Request] = []

    class Keeper(Listener):
        def on_request(self, stream_id: int, request: Request, data: bytes, end: bool) -> None:
            found.append(request)

    server = Server(options)
    server.codec._on_head = Keeper().on_request
    flags = WHOLE if end else frames.END_HEADERS
    server.fed(frames.frame(frames.HEADERS, flags, 1, Encoder().encode(fields, huffman=False)))
    assert server.failed is None, server.failed
    return found[0]


INVALID: dict[str, Fields] = {
    "uppercase": [*GET, (b"X-A", b"1")],
    "control character": [*GET, (b"a", b"x\x01y")],
    "DEL": [*GET, (b"a", b"x\x7fy")],
    "CR": [*GET, (b"a", b"x\ry")],
    "LF": [*GET, (b"a", b"x\nhost: evil")],
    "NUL": [*GET, (b"a", b"x\0y")],
    "space in a name": [*GET, (b"a b", b"x")],
    "no name": [*GET, (b"", b"x")],
    "colon in a name": [*GET, (b"a:b", b"x")],
    "byte above 127 in a name": [*GET, (b"a\x80", b"x")],
    "te": [*GET, (b"te", b"gzip")],
    "te with more": [*GET, (b"te", b"trailers, gzip")],
    "two te": [*GET, (b"te", b"trailers"), (b"te", b"gzip")],
    "connection": [*GET, (b"connection", b"close")],
    "keep-alive": [*GET, (b"keep-alive", b"x")],
    "upgrade": [*GET, (b"upgrade", b"x")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "proxy-connection": [*GET, (b"proxy-connection", b"x")],
    "two hosts": [METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"a")],
    "bad host beside the authority": [*GET, (b"host", b"a/b")],
    "empty authority": without(b":authority", (b":authority", b"")),
    "user in the authority": without(b":authority", (b":authority", b"u@h")),
    "space in the authority": without(b":authority", (b":authority", b"u h")),
    "slash in the authority": without(b":authority", (b":authority", b"h/x")),
    "space in the path": without(b":path", (b":path", b"/a b")),
    "tab in the path": without(b":path", (b":path", b"/a\tb")),
    "request line in the path": without(b":path", (b":path", b"/ HTTP/1.1\r\nhost: evil\r\n\r\n")),
    "empty path": without(b":path", (b":path", b"")),
    "space in the method": without(b":method", (b":method", b"GE T")),
    "empty method": without(b":method", (b":method", b"")),
    "line in the method": without(b":method", (b":method", b"GET / HTTP/1.1\r\nx: y")),
    "space in the scheme": without(b":scheme", (b":scheme", b"ht tp")),
    "empty scheme": without(b":scheme", (b":scheme", b"")),
    "status": [*GET, (b":status", b"200")],
    "unknown pseudo-header": [*GET, (b":foo", b"x")],
    "pseudo-header twice": [METHOD, *GET],
    "pseudo-header behind a field": [METHOD, SCHEME, AUTHORITY, (b"a", b"b"), PATH],
    "two lengths": [*GET, (b"content-length", b"5"), (b"content-length", b"5")],
    "length with a sign": [*GET, (b"content-length", b"+5")],
    "list of lengths": [*GET, (b"content-length", b"5, 5")],
    "empty length": [*GET, (b"content-length", b"")],
    "huge length": [*GET, (b"content-length", b"99999999999999999999")],
    "empty protocol": [(b":method", b"CONNECT"), SCHEME, AUTHORITY, PATH, (b":protocol", b"")],
}
MESSY: dict[str, Fields] = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "neither authority nor host": without(b":authority"),
    "path without a slash": without(b":path", (b":path", b"abc")),
    "absolute form": without(b":path", (b":path", b"http://x/y")),
    "asterisk of GET": without(b":path", (b":path", b"*")),
    "length without a body": [*GET, (b"content-length", b"5")],
    "protocol of GET": [*GET, (b":protocol", b"websocket")],
    "CONNECT with a path": [(b":method", b"CONNECT"), AUTHORITY, PATH],
    "CONNECT with a scheme": [(b":method", b"CONNECT"), AUTHORITY, SCHEME],
    "CONNECT without an authority": [(b":method", b"CONNECT")],
    "extended CONNECT without a path": [
        (b":method", b"CONNECT"), SCHEME, AUTHORITY, (b":protocol", b"websocket")
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", [*INVALID, *MESSY])
def test_malformed_requests_end_the_connection_in_envoys_words(what: str) -> None:
    fields = INVALID.get(what) or MESSY[what]
    server = sent(fields)
    assert server.failed is not None
    assert server.failed.detail == (INVALID_FIELD if what in INVALID else MESSAGING)
    assert server.failed.code == errors.PROTOCOL_ERROR
    assert server.sink.events[1:] == [["reset", 1, errors.PROTOCOL_ERROR, server.failed.detail]]
    assert "rx_messaging_error" in server.sink.counts


@pytest.mark.parametrize("what", [*INVALID, *MESSY])
def test_or_only_the_stream_if_so_configured(what: str) -> None:
    options = dataclasses.replace(TUNNELS, stream_error_on_invalid_http_messaging=True)
    server = sent(INVALID.get(what) or MESSY[what], options)
    assert server.failed is None
    detail = INVALID_FIELD if what in INVALID else MESSAGING
    assert server.sink.events[1:] == [["reset", 1, errors.PROTOCOL_ERROR, detail]]
    server.sink.answering = server.codec
    good = frames.frame(frames.HEADERS, WHOLE, 3, b"\x82\x86\x84\x01\x01a")
    assert [kind for kind, _, stream_id, _ in server.fed(good) if stream_id == 3] == [1, 0]


@pytest.mark.parametrize(
    "fields",
    [
        [*GET, (b"a", b" x")],
        [*GET, (b"a", b"x ")],
        [*GET, (b"a", b"x\ty\x80")],
        [*GET, (b"a_b", b"")],
        [*GET, (b"te", b"Trailers")],
        [*GET, (b"content-length", b"0")],
        [*GET, (b"host", b"other")],
        without(b":scheme", (b":scheme", b"HTTPS")),
        without(b":method", (b":method", b"get")),
        without(b":path", (b":path", b"/a#\x80")),
    ],
)
def test_what_envoy_takes_is_taken(fields: Fields) -> None:
    assert sent(fields).sink.events[1][0] == "request"


def test_a_request() -> None:
    request = request_of([*GET, (b"x-a", b"1"), (b"cookie", b"a=1"), (b"x-b", b"2")])
    assert (request.method, request.scheme, request.path) == (b"GET", b"http", b"/")
    assert (request.authority, request.version, request.length) == (b"a", b"HTTP/2", 0)
    assert list(request.headers) == [(b"x-a", b"1"), (b"cookie", b"a=1"), (b"x-b", b"2")]
    assert request.upgrade == b""


def test_cookie_crumbs_are_joined_at_the_end() -> None:
    """RFC 9113 section 8.2.3; the place is Envoy's."""
    request = request_of([*GET, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")])
    assert list(request.headers) == [(b"x", b"y"), (b"cookie", b"a=1; b=2")]


def test_the_host_is_the_authority_if_there_is_no_other() -> None:
    request = request_of([METHOD, SCHEME, PATH, (b"host", b"h"), (b"x", b"y")])
    assert request.authority == b"h"
    assert list(request.headers) == [(b"x", b"y")]
    request = request_of([*GET, (b"host", b"other")])
    assert (request.authority, list(request.headers)) == (b"a", [])


@pytest.mark.parametrize(("fields", "length"), [([], CHUNKED), ([(b"content-length", b"7")], 7)])
def test_the_length_is_told(fields: Fields, length: int) -> None:
    assert request_of([*GET, *fields], end=False).length == length


def test_asterisk_of_options() -> None:
    fields = [(b":method", b"OPTIONS"), SCHEME, AUTHORITY, (b":path", b"*")]
    assert request_of(fields).path == b"*"


def test_connect() -> None:
    request = request_of([(b":method", b"CONNECT"), (b":authority", b"a:80")], end=False)
    assert (request.method, request.authority, request.path) == (b"CONNECT", b"a:80", b"")
    assert request.length == CHUNKED


def test_extended_connect_becomes_the_get_of_http_1() -> None:
    """RFC 8441 section 4; as Envoy. Without allow_connect it is an invalid field."""
    fields = [(b":method", b"CONNECT"), SCHEME, AUTHORITY, PATH, (b":protocol", b"websocket")]
    request = request_of(fields, end=False)
    assert (request.method, request.upgrade, request.path) == (b"GET", b"websocket", b"/")
    assert sent(fields, Options(), end=False).failed is not None


@pytest.mark.parametrize(
    ("action", "event"), [(0, [(b"a_b", b"1")]), (2, []), (1, None)]
)  # fmt: skip
def test_underscores(action: int, event: Fields | None) -> None:
    """headers_with_underscores_action: allow, reject, drop."""
    server = sent([*GET, (b"a_b", b"1")], Options(underscores=action))
    assert server.failed is None
    told = [one[5] for one in server.sink.events if one[0] == "request"]
    assert told == ([event] if event is not None else [])
    assert ("dropped_headers_with_underscores" in server.sink.counts) == (action == 2)


def test_too_many_headers_reset_the_stream() -> None:
    server = sent([*GET, *[(b"a%d" % n, b"x") for n in range(97)]])
    assert server.failed is None and "header_overflow" in server.sink.counts
    told = ["reset", 1, errors.INTERNAL_ERROR, "http2.too_many_headers"]
    assert server.sink.events[1:] == [told]


def test_too_long_headers_reset_the_stream() -> None:
    """Envoy names them otherwise and counts no header_overflow."""
    server = Server()
    block = Encoder().encode([*GET, (b"a", b"x" * 61440)], huffman=False)
    wire = frames.header_frames(1, block, True, frames.MIN_FRAME_BYTES)
    assert server.fed(wire) == [(frames.RST_STREAM, 0, 1, b"\0\0\0\2")]  # INTERNAL_ERROR
    told = ["reset", 1, errors.INTERNAL_ERROR, "http2.header_list_size_too_large"]
    assert server.failed is None and server.sink.events[1:] == [told]
    assert "header_overflow" not in server.sink.counts


# ---------------------------------------------------------------------- responses


def answered(*fields: Fields, method: bytes = b"GET", end: bool = True) -> Listener:
    """A client that sent a request of `method`, after blocks of `fields`."""
    sink = Listener()
    client = ClientConnection(sink, Options(), lambda _: None)
    client.start()
    client.feed(HELLO[len(frames.PREFACE) :])
    request = Request(method, b"/", b"a", Headers())
    if method == b"UPGRADE":
        request.method, request.upgrade = b"GET", b"websocket"
    client.send_head(client.new_stream(), request, True)
    writer = Encoder()
    last = len(fields) - 1
    for number, block in enumerate(fields):
        flags = WHOLE if end and number == last else frames.END_HEADERS
        wire = frames.frame(frames.HEADERS, flags, 1, writer.encode(block))
        try:
            client.feed(wire)
        except errors.ConnectionFailed as error:
            sink.events.append(["failed", error.detail])
    return sink


STATUS = (b":status", b"200")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ([(b"a", b"b")], MESSAGING),
        ([(b":status", b"20")], INVALID_FIELD),
        ([(b":status", b"101")], INVALID_FIELD),
        ([(b":status", b"2x0")], INVALID_FIELD),
        ([STATUS, STATUS], INVALID_FIELD),
        ([STATUS, (b":path", b"/")], INVALID_FIELD),
        ([STATUS, (b"connection", b"close")], INVALID_FIELD),
        ([STATUS, (b"X", b"y")], INVALID_FIELD),
        ([STATUS, (b"a", b"x\r\ny")], INVALID_FIELD),
        ([STATUS, (b"content-length", b"x")], INVALID_FIELD),
        ([STATUS, (b"content-length", b"5")], MESSAGING),
        ([(b":status", b"100")], MESSAGING),
    ],
)
def test_malformed_responses(fields: Fields, detail: str) -> None:
    events = answered(fields).events
    assert events[-2:] == [["reset", 1, errors.PROTOCOL_ERROR, detail], ["failed", detail]]


def test_responses() -> None:
    one = ["response", 1, 200, [(b"a", b"b")], b"", True]
    assert answered([STATUS, (b"a", b"b")]).events[1:] == [one]
    early = [(b":status", b"103"), (b"link", b"x")]
    told = answered(early, [(b":status", b"100")], [STATUS]).events[1:]
    assert [event[:3] for event in told] == [["1xx", 1, 103], ["1xx", 1, 100], ["response", 1, 200]]


def test_no_body_where_there_can_be_none() -> None:
    """HEAD and 304 may say a length that does not come (RFC 9113 section 8.1.1)."""
    sized = [(b"content-length", b"5")]
    assert answered([STATUS, *sized], method=b"HEAD").events[-1][0] == "response"
    assert answered([(b":status", b"304"), *sized]).events[-1][0] == "response"


def test_an_accepted_tunnel_is_told_as_switching_protocols() -> None:
    assert answered([STATUS], method=b"UPGRADE", end=False).events[-1][2] == 101
    assert answered([(b":status", b"403")], method=b"UPGRADE").events[-1][2] == 403


def test_a_tunnel_is_accepted_with_200() -> None:
    server = Server(TUNNELS)
    server.sink.answering = None
    fields = [(b":method", b"CONNECT"), SCHEME, AUTHORITY, PATH, (b":protocol", b"websocket")]
    server.fed(frames.frame(1, frames.END_HEADERS, 1, Encoder().encode(fields)))
    server.codec.send_head(1, Response(101, Headers()), False)
    assert server.fed(b"") == [(frames.HEADERS, frames.END_HEADERS, 1, b"\x88")]
