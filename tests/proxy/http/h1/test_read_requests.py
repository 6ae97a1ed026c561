"""Requests: bytes in, events out; whole, byte by byte and split anywhere."""

from __future__ import annotations

import pytest

from proxy.http.h1 import Limits
from tests.support.codec import (
    Event,
    Requests,
    bytewise,
    pairs_of_places,
    read_requests,
    splits,
    whatever_the_split,
)

STAY: Event = ("ways", True, False, b"")
CLOSE: Event = ("ways", False, False, b"")
END: Event = ("end",)


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes = b"host: a") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return head(b"POST / HTTP/1.1", *fields) + body


def chunked(body: bytes) -> bytes:
    return post(b"transfer-encoding: chunked", body=body)


def request(
    method: bytes = b"GET",
    path: bytes = b"/",
    authority: bytes = b"a",
    pairs: list[tuple[bytes, bytes]] | None = None,
    body: bytes = b"",
) -> Event:
    return ("request", method, path, authority, pairs or [], body)


GET = request()
LENGTH_3 = (b"content-length", b"3")

ACCEPTED: dict[str, tuple[bytes, list[Event]]] = {
    "plain": (head(), [GET, END, STAY]),
    "empty lines before it": (b"\r\n\r\n" + head(), [GET, END, STAY]),
    "path and query": (
        head(b"GET /a%20b?c=d&e={f}|g HTTP/1.1"),
        [request(path=b"/a%20b?c=d&e={f}|g"), END, STAY],
    ),
    "asterisk": (head(b"OPTIONS * HTTP/1.1"), [request(b"OPTIONS", b"*"), END, STAY]),
    "a rare method": (head(b"MKCALENDAR / HTTP/1.1"), [request(b"MKCALENDAR"), END, STAY]),
    "absolute form": (
        head(b"GET http://b:81/x?y HTTP/1.1"),
        [request(path=b"/x?y", authority=b"b:81"), END, STAY],
    ),
    "absolute form, no path": (
        head(b"GET https://b HTTP/1.1"),
        [request(path=b"/", authority=b"b"), END, STAY],
    ),
    "absolute form, query only": (
        head(b"GET http://b?q HTTP/1.1"),
        [request(path=b"/?q", authority=b"b"), END, STAY],
    ),
    "IPv6 host": (
        head(host=b"Host: [2001:db8::1]:8080"),
        [request(authority=b"[2001:db8::1]:8080"), END, STAY],
    ),
    "CONNECT": (
        head(b"CONNECT b:443 HTTP/1.1") + b"any bytes",
        [request(b"CONNECT", b"", b"b:443", body=b"any bytes")],
    ),
    "values are stripped": (
        head(b"GET / HTTP/1.1", b"x:\t a b \t", b"Y:1", b"z: "),
        [request(pairs=[(b"x", b"a b"), (b"y", b"1"), (b"z", b"")]), END, STAY],
    ),
    "obs-text and odd tokens": (
        head(b"GET / HTTP/1.1", b"!#$%&'*+.^_`|~1: \xff\x80"),
        [request(pairs=[(b"!#$%&'*+.^_`|~1", b"\xff\x80")]), END, STAY],
    ),
    "repeated headers": (
        head(b"GET / HTTP/1.1", b"x: 1", b"X: 2"),
        [request(pairs=[(b"x", b"1"), (b"x", b"2")]), END, STAY],
    ),
    "sized body": (
        post(b"content-length: 3", body=b"abc"),
        [request(b"POST", pairs=[LENGTH_3], body=b"abc"), END, STAY],
    ),
    "length 0": (
        post(b"content-length: 0"),
        [request(b"POST", pairs=[(b"content-length", b"0")]), END, STAY],
    ),
    "leading zeros": (
        post(b"content-length: 003", body=b"abc"),
        [request(b"POST", pairs=[(b"content-length", b"003")], body=b"abc"), END, STAY],
    ),
    "no framing, no body": (post(), [request(b"POST"), END, STAY]),
    "chunked": (
        chunked(b"3\r\nabc\r\n0a\r\n0123456789\r\nF\r\nabcdefghijklmno\r\n0\r\n\r\n"),
        [request(b"POST", body=b"abc0123456789abcdefghijklmno"), END, STAY],
    ),
    "chunked, empty": (chunked(b"0\r\n\r\n"), [request(b"POST"), END, STAY]),
    "chunked, zeros": (chunked(b"000\r\n\r\n"), [request(b"POST"), END, STAY]),
    "chunk extensions": (
        chunked(b'3;a=b\r\nabc\r\n1 ; q="x y"\r\n.\r\n0;last\r\n\r\n'),
        [request(b"POST", body=b"abc."), END, STAY],
    ),
    "trailers are dropped": (
        chunked(b"1\r\nx\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n"),
        [request(b"POST", body=b"x"), END, STAY],
    ),
    "chunked in capitals": (
        post(b"Transfer-Encoding: Chunked", body=b"1\r\nx\r\n0\r\n\r\n"),
        [request(b"POST", body=b"x"), END, STAY],
    ),
    "CRLF in a chunk": (
        chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"),
        [request(b"POST", body=b"\r\n\r\n"), END, STAY],
    ),
    "pipelined": (
        head() + post(b"content-length: 3", body=b"abc") + chunked(b"1\r\nx\r\n0\r\n\r\n") + head(),
        [
            *[GET, END, STAY],
            *[request(b"POST", pairs=[LENGTH_3], body=b"abc"), END, STAY],
            *[request(b"POST", body=b"x"), END, STAY],
            *[GET, END, STAY],
        ],
    ),
    "connection: close": (head(b"GET / HTTP/1.1", b"connection: close"), [GET, END, CLOSE]),
    "Connection: Close": (head(b"GET / HTTP/1.1", b"Connection: Close"), [GET, END, CLOSE]),
    "keep-alive": (
        head(b"GET / HTTP/1.1", b"connection: keep-alive", b"keep-alive: timeout=5"),
        [GET, END, STAY],
    ),
    "nominated": (
        head(b"GET / HTTP/1.1", b"connection: x-mine, close", b"x-mine: 1", b"y: 2"),
        [request(pairs=[(b"y", b"2")]), END, CLOSE],
    ),
    "two connection headers": (
        head(b"GET / HTTP/1.1", b"connection: x-mine", b"connection: close", b"x-mine: 1"),
        [GET, END, CLOSE],
    ),
    "hop-by-hop": (
        head(b"GET / HTTP/1.1", b"proxy-connection: x", b"te: gzip", b"keep-alive: 1", b"k: v"),
        [request(pairs=[(b"k", b"v")]), END, STAY],
    ),
    "te: trailers stays": (
        head(b"GET / HTTP/1.1", b"te: trailers, deflate", b"connection: te"),
        [request(pairs=[(b"te", b"trailers")]), END, STAY],
    ),
    "upgrade": (
        head(b"GET / HTTP/1.1", b"connection: Upgrade", b"upgrade: websocket") + b"any bytes",
        [request(body=b"any bytes")],
    ),
    "an upgrade has no content": (
        post(b"connection: Upgrade", b"upgrade: x", b"content-length: 3", body=b"abcdef"),
        [request(b"POST", pairs=[LENGTH_3], body=b"abcdef")],
    ),
    "no upgrade to HTTP/2": (
        head(
            b"GET / HTTP/1.1",
            b"connection: Upgrade, HTTP2-Settings",
            b"upgrade: h2c",
            b"http2-settings: AAA",
        ),
        [GET, END, STAY],
    ),
    "upgrade not nominated": (head(b"GET / HTTP/1.1", b"upgrade: websocket"), [GET, END, STAY]),
    "expect": (
        post(b"expect: 100-Continue", b"content-length: 3", body=b"abc"),
        [request(b"POST", pairs=[LENGTH_3], body=b"abc"), END, ("ways", True, True, b"")],
    ),
    "other expectations pass": (
        head(b"GET / HTTP/1.1", b"expect: 200-ok"),
        [request(pairs=[(b"expect", b"200-ok")]), END, STAY],
    ),
    "HTTP/1.0": (head(b"GET / HTTP/1.0"), [GET, END, CLOSE]),
    "HTTP/1.0 keep-alive": (
        head(b"GET / HTTP/1.0", b"connection: keep-alive"),
        [GET, END, STAY],
    ),
    "HTTP/1.0 without host": (
        head(b"GET / HTTP/1.0", host=b""),
        [request(authority=b"default"), END, CLOSE],
    ),
    "HTTP/1.0 expects nothing": (
        head(b"POST / HTTP/1.0", b"expect: 100-continue", b"content-length: 0"),
        [
            request(b"POST", pairs=[(b"expect", b"100-continue"), (b"content-length", b"0")]),
            END,
            CLOSE,
        ],
    ),
}

REFUSED: dict[str, tuple[bytes, int]] = {
    "bytes above ASCII in the target": (head(b"GET /\xc3\xa9 HTTP/1.1"), 400),
    "a port that is none": (head(b"GET http://a:65536/ HTTP/1.1"), 400),
    "many connection options": (head(b"GET / HTTP/1.1", b"Connection: a,b,c,d,e,f,g,h,i,j"), 400),
    "bare LF": (b"GET / HTTP/1.1\nhost: a\n\n", 400),
    "bare LF in a header": (head(b"GET / HTTP/1.1", b"x: 1\ny: 2"), 400),
    "bare CR in a header": (head(b"GET / HTTP/1.1", b"x: 1\ry: 2"), 400),
    "obs-fold": (head(b"GET / HTTP/1.1", b"x: 1", b" y"), 400),
    "obs-fold by tab": (head(b"GET / HTTP/1.1", b"x: 1", b"\ty"), 400),
    "fold at the first header": (b"GET / HTTP/1.1\r\n host: a\r\n\r\n", 400),
    "space before the colon": (head(b"GET / HTTP/1.1", b"x : 1"), 400),
    "space in a name": (head(b"GET / HTTP/1.1", b"x y: 1"), 400),
    "no colon": (head(b"GET / HTTP/1.1", b"x"), 400),
    "empty name": (head(b"GET / HTTP/1.1", b": 1"), 400),
    "NUL in a value": (head(b"GET / HTTP/1.1", b"x: \x00"), 400),
    "BEL in a value": (head(b"GET / HTTP/1.1", b"x: \x07"), 400),
    "DEL in a value": (head(b"GET / HTTP/1.1", b"x: \x7f"), 400),
    "high byte in a name": (head(b"GET / HTTP/1.1", b"\xffx: 1"), 400),
    "two spaces": (head(b"GET  / HTTP/1.1"), 400),
    "tab in the request line": (head(b"GET\t/ HTTP/1.1"), 400),
    "space behind the version": (head(b"GET / HTTP/1.1 "), 400),
    "space in the path": (head(b"GET /a b HTTP/1.1"), 400),
    "control character in the path": (head(b"GET /\x01 HTTP/1.1"), 400),
    "lower-case version": (head(b"GET / http/1.1"), 400),
    "HTTP/2.0": (head(b"GET / HTTP/2.0"), 426),
    "HTTP/1.2": (head(b"GET / HTTP/1.2"), 426),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
    "two hosts": (head(b"GET / HTTP/1.1", b"Host: b"), 400),
    "userinfo in the host": (head(host=b"host: u@a"), 400),
    "path in the host": (head(host=b"host: a/b"), 400),
    "space in the host": (head(host=b"host: a b"), 400),
    "port that is none": (head(host=b"host: a:b"), 400),
    "userinfo in absolute form": (head(b"GET http://u@b/ HTTP/1.1"), 400),
    "other scheme": (head(b"GET ftp://b/ HTTP/1.1"), 400),
    "no authority": (head(b"GET http:///x HTTP/1.1"), 400),
    "neither path nor URI": (head(b"GET x HTTP/1.1"), 400),
    "CONNECT with a path": (head(b"CONNECT /x HTTP/1.1"), 400),
    "extension method": (head(b"M-SEARCH / HTTP/1.1"), 400),
    "lower-case method": (head(b"get / HTTP/1.1"), 400),
    "two lengths": (post(b"content-length: 3", b"content-length: 3", body=b"abc"), 400),
    "two different lengths": (post(b"content-length: 3", b"content-length: 4"), 400),
    "a list of lengths": (post(b"content-length: 3, 3", body=b"abc"), 400),
    "signed length": (post(b"content-length: +3", body=b"abc"), 400),
    "negative length": (post(b"content-length: -1"), 400),
    "hexadecimal length": (post(b"content-length: 0x3", body=b"abc"), 400),
    "length with underscore": (post(b"content-length: 1_0"), 400),
    "length in other digits": (post(b"content-length: \xb2"), 400),
    "fractional length": (post(b"content-length: 3.0"), 400),
    "empty length": (post(b"content-length: "), 400),
    "enormous length": (post(b"content-length: " + b"9" * 30), 400),
    "length and chunked": (
        post(b"content-length: 3", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "chunked twice": (post(b"transfer-encoding: chunked, chunked"), 501),
    "chunked in two headers": (
        post(b"transfer-encoding: chunked", b"transfer-encoding: chunked"),
        501,
    ),
    "gzip": (post(b"transfer-encoding: gzip"), 501),
    "gzip and chunked": (post(b"transfer-encoding: gzip, chunked"), 501),
    "chunked and identity": (post(b"transfer-encoding: chunked, identity"), 501),
    "xchunked": (post(b"transfer-encoding: xchunked"), 501),
    "quoted chunked": (post(b'transfer-encoding: "chunked"'), 501),
    "chunked with a vertical tab": (post(b"transfer-encoding: \x0bchunked"), 400),
    "empty transfer-encoding": (post(b"transfer-encoding: "), 501),
    "chunked in HTTP/1.0": (
        head(b"POST / HTTP/1.0", b"transfer-encoding: chunked") + b"0\r\n\r\n",
        400,
    ),
    "nominated host": (head(b"GET / HTTP/1.1", b"connection: host"), 400),
    "nominated length": (post(b"connection: content-length", b"content-length: 0"), 400),
    "nominated x-forwarded-for": (head(b"GET / HTTP/1.1", b"connection: X-Forwarded-For"), 400),
    "chunk size missing": (chunked(b"\r\nabc\r\n"), 400),
    "chunk size of nothing": (chunked(b";a=b\r\nabc\r\n"), 400),
    "chunk size no number": (chunked(b"g\r\n"), 400),
    "chunk size signed": (chunked(b"+3\r\nabc\r\n0\r\n\r\n"), 400),
    "chunk size with 0x": (chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
    "chunk size with underscore": (chunked(b"1_0\r\n"), 400),
    "chunk size with space before": (chunked(b" 3\r\nabc\r\n0\r\n\r\n"), 400),
    "chunk size overflows": (chunked(b"1" * 17 + b"\r\n"), 400),
    "chunk ended by LF": (chunked(b"3\nabc\r\n0\r\n\r\n"), 400),
    "chunk longer than its size": (chunked(b"3\r\nabcd\r\n0\r\n\r\n"), 400),
    "chunk data ended by LF": (chunked(b"3\r\nabc\n0\r\n\r\n"), 400),
    "chunk data ended by CR": (chunked(b"3\r\nabc\rx"), 400),
    "bare CR in an extension": (chunked(b"3;a\rb\r\nabc\r\n0\r\n\r\n"), 400),
    "NUL in an extension": (chunked(b"3;a\x00\r\nabc\r\n0\r\n\r\n"), 400),
    "bad trailer": (chunked(b"0\r\nx y: 1\r\n\r\n"), 400),
    "trailer without colon": (chunked(b"0\r\nabc\r\n\r\n"), 400),
    "bare LF in a trailer": (chunked(b"0\r\nx: 1\ny: 2\r\n\r\n"), 400),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    data, events = ACCEPTED[name]
    assert read_requests([data]) == events
    assert read_requests(bytewise(data)) == events
    for pieces in splits(data):
        assert read_requests(pieces) == events, pieces


@pytest.mark.parametrize("name", ["chunk extensions", "trailers are dropped", "CRLF in a chunk"])
def test_accepted_in_three_pieces(name: str) -> None:
    data, events = ACCEPTED[name]
    for pieces in pairs_of_places(data):
        assert read_requests(pieces) == events, pieces


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, status = REFUSED[name]
    events = read_requests([data])
    assert events, "nothing was said of it"
    assert events[-1][0] == "refused" and events[-1][2] == status, events
    told = whatever_the_split(events)
    assert whatever_the_split(read_requests(bytewise(data))) == told
    for pieces in splits(data):
        assert whatever_the_split(read_requests(pieces)) == told, pieces


@pytest.mark.parametrize("name", REFUSED)
def test_refused_behind_a_good_one(name: str) -> None:
    """What was refused alone is refused on a connection that has seen heads of its shape."""
    data, _ = REFUSED[name]
    good = head(b"GET / HTTP/1.1") * 5
    assert read_requests([data], warm=good)[-1][0] == "refused"


def test_an_incomplete_head_says_nothing() -> None:
    whole = head(b"GET / HTTP/1.1", b"x: y")
    for at in range(len(whole)):
        assert read_requests([whole[:at]]) == []


def test_without_http_10() -> None:
    events = read_requests([head(b"GET / HTTP/1.0")], Limits())
    assert events == [("refused", "low_version", 426)]


ODD = {
    "no host": (head(host=b""), True),
    "CONNECT": (head(b"CONNECT b:443 HTTP/1.1"), True),
    "asterisk": (head(b"OPTIONS * HTTP/1.1"), True),
    "fragment": (head(b"GET /a#b HTTP/1.1"), True),
    "upgrade": (head(b"GET / HTTP/1.1", b"connection: upgrade", b"upgrade: x"), True),
    "plain": (head(), False),
    "close": (head(b"GET / HTTP/1.1", b"connection: close"), False),
}


@pytest.mark.parametrize("name", ODD)
def test_what_the_manager_must_decide_on(name: str) -> None:
    """`odd` on the slow path and, after heads of the same names, on the fast one."""
    data, odd = ODD[name]
    for warm in (b"", head(), head() * 5, data):
        one = Requests()
        one.feed(warm)
        one.feed(data)
        assert one.sink.odd is odd


class TestLimits:
    LIMITS = Limits(head_bytes=200, headers=5)

    def test_the_longest_head(self) -> None:
        fits = head(b"GET /%b HTTP/1.1" % (b"x" * (200 - len(head()))))
        assert len(fits) == 200
        assert read_requests([fits], self.LIMITS)[0][0] == "request"
        assert read_requests(bytewise(fits), self.LIMITS)[0][0] == "request"

    @pytest.mark.parametrize("whole", [True, False])
    def test_one_byte_more(self, whole: bool) -> None:
        long = head(b"GET /%b HTTP/1.1" % (b"x" * (201 - len(head()))))
        pieces = [long] if whole else bytewise(long)
        assert read_requests(pieces, self.LIMITS)[-1] == (
            "refused", "http1.headers_too_large", 431,
        )  # fmt: skip

    def test_a_head_that_never_ends(self) -> None:
        pieces = [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n"] * 40]
        assert read_requests(pieces, self.LIMITS)[-1][2] == 431

    def test_the_limit_holds_on_the_fast_path(self) -> None:
        warm = head(b"GET / HTTP/1.1", b"x: y") * 5
        long = head(b"GET / HTTP/1.1", b"x: " + b"y" * 200)
        assert read_requests([long], self.LIMITS, warm)[-1][2] == 431

    def test_the_number_of_headers(self) -> None:
        fits = head(b"GET / HTTP/1.1", *[b"x%d: 1" % n for n in range(4)])
        more = head(b"GET / HTTP/1.1", *[b"x%d: 1" % n for n in range(5)])
        assert read_requests([fits], self.LIMITS)[0][0] == "request"
        assert read_requests([more], self.LIMITS)[-1] == (
            "refused", "http1.too_many_headers", 431,
        )  # fmt: skip

    def test_limits_are_of_the_connection_not_of_the_shape(self) -> None:
        """Plans are shared: what another connection compiled opens nothing here."""
        more = head(b"GET / HTTP/1.1", *[b"x%d: 1" % n for n in range(9)])
        assert len(read_requests([more * 5])) == 15
        assert read_requests([more], self.LIMITS)[-1][2] == 431
        strict = Limits(underscores="REJECT_REQUEST")
        odd = head(b"GET / HTTP/1.1", b"x_y: 1")
        assert len(read_requests([odd * 5])) == 15
        assert read_requests([odd], strict)[-1][1] == "http1.unexpected_underscore"

    def test_the_first_head_of_a_connection_may_have_the_shape_of_the_last_of_another(self) -> None:
        limits = Limits()
        known = head(b"GET / HTTP/1.1", b"x: y")
        assert len(read_requests([known * 5], limits)) == 15
        for first in (known, head(b"GET / HTTP/1.1", b"y: x"), head(b"GET / HTTP/1.0")):
            assert read_requests([first], limits) == read_requests([first], Limits())


def test_methods_that_begin_oddly() -> None:
    raw = b"!FOO / HTTP/1.1\r\nhost: a\r\n\r\n"
    assert read_requests(bytewise(raw)) == read_requests([raw])


def test_long_chunk_lines_and_trailers() -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    for raw in (
        head + b"1;" + b"x" * 6000 + b"\r\na\r\n0\r\n\r\n",
        head + b"0\r\nx: " + b"y" * 9000 + b"\r\n\r\n",
    ):
        whole = whatever_the_split(read_requests([raw]))
        assert whatever_the_split(read_requests(bytewise(raw))) == whole


@pytest.mark.parametrize("line", [b"B{}D / HTTP/1.1", b"GET / ICE/1.0", b"g", b"BREW / HTTP/1.1"])
def test_a_bad_first_line_is_refused_before_the_head_is_whole(line: bytes) -> None:
    whole = line + b"\r\n"
    assert read_requests([whole])[-1][0] == "refused"
    assert read_requests([whole[:3], whole[3:]])[-1][0] == "refused"
    assert read_requests([b"GET / HTTP/1.1\r\n", b"g\r\n"]) == []


def test_trailers_that_frame_or_route_are_not_passed_on() -> None:
    names = (b"content-length", b"transfer-encoding", b"host", b"connection", b"te", b"trailer")
    fields = b"".join(b"%s: 1\r\n" % name for name in names)
    data = chunked(b"0\r\n" + fields + b"x-kept: 1\r\n\r\n")
    events = read_requests([data], Limits(trailers=True))
    assert [event for event in events if event[0] == "end"] == [("end", [(b"x-kept", b"1")])]
