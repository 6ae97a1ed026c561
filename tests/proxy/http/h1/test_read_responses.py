"""Responses: bytes in, events out; whole, byte by byte and split anywhere, first seen and known."""

from __future__ import annotations

import pytest

from proxy.http.h1 import Limits
from tests.support.codec import (
    Event,
    bytewise,
    read_responses,
    splits,
    whatever_the_split,
)

STAY: Event = ("ways", True)
CLOSE: Event = ("ways", False)
END: Event = ("end",)
LENGTH_3 = (b"content-length", b"3")


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


def ok(*fields: bytes, body: bytes = b"") -> bytes:
    return head(b"HTTP/1.1 200 OK", *fields) + body


def response(
    status: int = 200, pairs: list[tuple[bytes, bytes]] | None = None, body: bytes = b""
) -> Event:
    return ("response", status, pairs or [], body)


SIZED = ok(b"content-length: 3", body=b"abc")
# name: bytes, events; the request's method and whether the peer closes after it.
Case = tuple[bytes, list[Event], bytes, bool]
ACCEPTED: dict[str, Case] = {
    "sized": (SIZED, [response(pairs=[LENGTH_3], body=b"abc"), END, STAY], b"GET", False),
    "no reason": (
        head(b"HTTP/1.1 200", b"content-length: 0"),
        [response(pairs=[(b"content-length", b"0")]), END, STAY],
        b"GET",
        False,
    ),
    "odd reason": (
        head(b"HTTP/1.1 299 \xc3\xa4 b\tc", b"content-length: 0"),
        [response(299, [(b"content-length", b"0")]), END, STAY],
        b"GET",
        False,
    ),
    "close": (
        ok(b"content-length: 3", b"Connection: close", body=b"abc"),
        [response(pairs=[LENGTH_3], body=b"abc"), END, CLOSE],
        b"GET",
        False,
    ),
    "chunked": (
        ok(b"transfer-encoding: chunked", b"x: y")
        + b"3\r\nabc\r\n1;e\r\n.\r\n0\r\nt: 1\r\n\r\n",
        [response(pairs=[(b"x", b"y")], body=b"abc."), END, STAY],
        b"GET",
        False,
    ),
    "until close": (ok(body=b"abc"), [response(body=b"abc"), END, CLOSE], b"GET", True),
    "until close, empty": (ok(), [response(), END, CLOSE], b"GET", True),
    "until close, keep-alive said": (
        ok(b"connection: keep-alive", body=b"a"),
        [response(body=b"a"), END, CLOSE],
        b"GET",
        True,
    ),
    "HTTP/1.0": (
        head(b"HTTP/1.0 200 OK", b"content-length: 3") + b"abc",
        [response(pairs=[LENGTH_3], body=b"abc"), END, CLOSE],
        b"GET",
        False,
    ),
    "HTTP/1.0 keep-alive": (
        head(b"HTTP/1.0 200 OK", b"content-length: 3", b"connection: keep-alive") + b"abc",
        [response(pairs=[LENGTH_3], body=b"abc"), END, STAY],
        b"GET",
        False,
    ),
    "HEAD": (
        ok(b"content-length: 3"), [response(pairs=[LENGTH_3]), END, STAY], b"HEAD", False,
    ),
    "HEAD, chunked": (
        ok(b"transfer-encoding: chunked"), [response(), END, STAY], b"HEAD", False,
    ),
    "HEAD, no framing": (ok(), [response(), END, STAY], b"HEAD", False),
    "204": (head(b"HTTP/1.1 204 No Content"), [response(204), END, STAY], b"GET", False),
    "304 with a length": (
        head(b"HTTP/1.1 304 Not Modified", b"content-length: 3"),
        [response(304, [LENGTH_3]), END, STAY],
        b"GET",
        False,
    ),
    "1xx": (
        head(b"HTTP/1.1 100 Continue") + head(b"HTTP/1.1 103 Early Hints", b"link: x") + SIZED,
        [("1xx", 100), ("1xx", 103), response(pairs=[LENGTH_3], body=b"abc"), END, STAY],
        b"GET",
        False,
    ),
    "hop-by-hop": (
        ok(b"content-length: 0", b"keep-alive: timeout=5", b"proxy-connection: x"),
        [response(pairs=[(b"content-length", b"0")]), END, STAY],
        b"GET",
        False,
    ),
    "values are stripped": (
        ok(b"content-length:\t0 ", b"x:  a b\t", b"y:"),
        [response(pairs=[(b"content-length", b"0"), (b"x", b"a b"), (b"y", b"")]), END, STAY],
        b"GET",
        False,
    ),
}  # fmt: skip

# name: bytes, and whether the peer closes after them.
REFUSED: dict[str, tuple[bytes, bool]] = {
    "not HTTP": (b"garbage\r\n\r\n", False),
    "bare LF": (b"HTTP/1.1 200 OK\ncontent-length: 0\n\n\r\n\r\n", False),
    "HTTP/2.0": (head(b"HTTP/2.0 200 OK", b"content-length: 0"), False),
    "status of two digits": (head(b"HTTP/1.1 20 OK"), False),
    "status of four digits": (head(b"HTTP/1.1 2000 OK"), False),
    "status 099": (head(b"HTTP/1.1 099 OK"), False),
    "two spaces": (head(b"HTTP/1.1  200 OK"), False),
    "obs-fold": (ok(b"content-length: 0", b" x"), False),
    "space before the colon": (ok(b"content-length : 0"), False),
    "NUL in a value": (ok(b"content-length: 0", b"x: \x00"), False),
    "two lengths": (ok(b"content-length: 3", b"content-length: 4", body=b"abc"), False),
    "length no number": (ok(b"content-length: 3a", body=b"abc"), False),
    "length and chunked": (ok(b"content-length: 3", b"transfer-encoding: chunked"), False),
    "gzip": (ok(b"transfer-encoding: gzip, chunked"), False),
    "chunked in HTTP/1.0": (head(b"HTTP/1.0 200 OK", b"transfer-encoding: chunked"), False),
    "bad chunk size": (ok(b"transfer-encoding: chunked", body=b"x\r\n"), False),
    "unasked upgrade": (head(b"HTTP/1.1 101 Switching Protocols"), False),
    "ends in its head": (b"HTTP/1.1 200 OK\r\n", True),
    "ends in a sized body": (ok(b"content-length: 3", body=b"ab"), True),
    "ends in a chunk": (ok(b"transfer-encoding: chunked", body=b"3\r\nab"), True),
    "ends before the last chunk": (ok(b"transfer-encoding: chunked", body=b"1\r\na\r\n"), True),
    "ends in the trailers": (ok(b"transfer-encoding: chunked", body=b"0\r\nx: y\r\n"), True),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    data, events, method, eof = ACCEPTED[name]
    assert read_responses([data], method, eof) == events
    assert read_responses(bytewise(data), method, eof) == events
    for pieces in splits(data):
        assert read_responses(pieces, method, eof) == events, pieces


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_on_the_fast_path(name: str) -> None:
    """After the same head was compiled, and after another one was."""
    data, events, method, eof = ACCEPTED[name]
    assert read_responses([data], method, eof, warm=SIZED) == events
    if method == b"GET" and STAY in events and len(events) == 3:
        assert read_responses([data], method, eof, warm=data) == events


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, eof = REFUSED[name]
    events = read_responses([data], eof=eof)
    assert events[-1][0] == "refused", events
    told = whatever_the_split(events)
    assert whatever_the_split(read_responses([data], eof=eof, warm=SIZED)) == told
    assert whatever_the_split(read_responses(bytewise(data), eof=eof)) == told
    for pieces in splits(data):
        assert whatever_the_split(read_responses(pieces, eof=eof)) == told, pieces


def test_bytes_behind_a_response_end_the_connection() -> None:
    """They answer nothing, and must never be taken for the answer to a later request."""
    events = read_responses([SIZED + SIZED])
    assert events == [response(pairs=[LENGTH_3], body=b"abc"), END, CLOSE]
    chunked = ok(b"transfer-encoding: chunked", body=b"0\r\n\r\nX")
    assert read_responses([chunked]) == [response(), END, CLOSE]


def test_bytes_without_a_request() -> None:
    assert read_responses([SIZED, b"x"])[-1] == ("refused", "http1.unexpected_response")


def test_limits() -> None:
    limits = Limits(head_bytes=100, headers=3)
    long = ok(b"x: " + b"y" * 100, b"content-length: 0")
    for pieces in ([long], bytewise(long)):
        assert read_responses(pieces, limits=limits)[-1][0] == "refused"
    many = ok(*[b"x%d: 1" % n for n in range(4)])
    assert read_responses([many], limits=limits)[-1] == ("refused", "http1.too_many_headers")
