"""Two ways to read a head, one meaning: the compiled expression of a known shape and the grammar.

And one outside opinion: where h11 and we both accept, we frame alike.
"""

from __future__ import annotations

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.http.h1.plan import COMPILE_AFTER_USES
from tests.support.codec import (
    Event,
    Requests,
    cut,
    forget_plans,
    read_requests,
    read_responses,
    whatever_the_split,
)

bounded = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

NAMES = [
    *[b"accept", b"Accept", b"x-a", b"X%d", b"x'\"", b"cookie", b"expect", b"te", b"upgrade"],
    *[b"connection", b"Connection", b"content-length", b"Content-Length", b"transfer-encoding"],
    *[b"keep-alive", b"proxy-connection", b"x-forwarded-for", b"host"],
]
VALUES = [
    *[b"", b" ", b"\t", b"a", b"a b", b" a", b"a ", b"a\t", b"\ta", b"a\tb", b"  a  b  "],
    *[b"0", b"3", b"03", b"-1", b"1_0", b"3, 3", b"99999999999999999999", b"chunked", b"Chunked"],
    *[b"gzip, chunked", b"close", b"Close", b"keep-alive", b"Keep-Alive", b"KEEP-ALIVE"],
    *[b"x-a", b"close, x-a", b"upgrade", b"websocket", b"100-continue", b"trailers", b"host"],
    *[b"a\x00", b"\x0b", b"\x7f", b"a\rb", b"a\nb", b"a\r\n b", b"a\r\nhost: b", b"\xff", b"%s%b"],
    *[b"a", b"a:80", b"[::1]", b"u@a", b"a/b", b"a b"],
]
LINES = [
    *[b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"OPTIONS * HTTP/1.1", b"get /x HTTP/1.1"],
    *[b"CONNECT /x HTTP/1.1", b"CONNECT b:1 HTTP/1.1", b"CONNECTED / HTTP/1.1"],
    *[b"GET /a?b=c HTTP/1.1", b"GET http://b/x HTTP/1.1", b"GET / HTTP/1.0", b"GET /# HTTP/1.1"],
    *[b"GET  / HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET / HTTP/1.1 ", b"GET /\t HTTP/1.1"],
]
STATUS_LINES = [
    *[b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content"],
    *[b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 200  ", b"HTTP/1.1 100 Continue", b"HTTP/1.1 20"],
]
BODIES = [
    *[b"", b"abc", b"abcd", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n"],
    b"3;x\r\nabc\r\n0\r\nt: 1\r\n\r\n",
    *[b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"3\r\nabcd", b"\r\n", b"xyz\r\n\r\n"],
]  # fmt: skip
PLAIN = b"a"

names = st.lists(st.sampled_from(NAMES), max_size=5)
values = st.one_of(
    st.sampled_from(VALUES),
    st.binary(max_size=8),
    st.text("abc \t,;=", max_size=8).map(str.encode),
)


def block(start: bytes, pairs: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%b: %b" % pair for pair in pairs]
    return b"\r\n".join([start, *lines, b"", b""])


HARMLESS = {b"content-length": b"0", b"transfer-encoding": b"chunked"}


def warm_request(listed: list[bytes]) -> bytes:
    """Requests of these names that are read whole, so that their shape becomes known; b"" if none
    can be: there are two hosts, or two framings."""
    pairs = [(name, HARMLESS.get(name.lower(), PLAIN)) for name in listed]
    body = b"0\r\n\r\n" if b"transfer-encoding" in listed else b""
    warm = (block(b"GET / HTTP/1.1", pairs) + body) * (COMPILE_AFTER_USES + 2)
    return b"" if any(event[0] == "refused" for event in read_requests([warm])) else warm


@bounded
@given(
    names,
    st.integers(0, 5),
    st.data(),
    st.sampled_from(LINES),
    st.sampled_from(BODIES),
    st.lists(st.integers(0, 10_000), max_size=4),
)
def test_requests(
    listed: list[bytes],
    at: int,
    data: st.DataObject,
    line: bytes,
    body: bytes,
    places: list[int],
) -> None:
    listed = [*listed[:at], b"host", *listed[at:]]
    pairs = [(name, data.draw(values)) for name in listed]
    raw = block(line, pairs) + body
    slow = read_requests([raw])
    assert read_requests([raw], warm=warm_request(listed)) == slow
    assert whatever_the_split(read_requests(cut(raw, places))) == whatever_the_split(slow)


def test_the_fast_path_is_taken() -> None:
    """Else the comparison above would compare the slow path with itself."""
    forget_plans()
    one = Requests()
    for at in range(COMPILE_AFTER_USES + 2):
        one.feed(b"GET /%d HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n" % at)
    plan = one.reader._plan
    assert plan is not None and plan.match is not None
    assert plan.uses == COMPILE_AFTER_USES  # the slow path would count on


@bounded
@given(
    names.map(lambda listed: [name for name in listed if name != b"host"]),
    st.data(),
    st.sampled_from(STATUS_LINES),
    st.sampled_from(BODIES),
    st.sampled_from([b"GET", b"HEAD"]),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=4),
)
def test_responses(
    listed: list[bytes],
    data: st.DataObject,
    line: bytes,
    body: bytes,
    method: bytes,
    eof: bool,
    places: list[int],
) -> None:
    if b"content-length" not in listed:
        listed = [*listed, b"content-length"]
    pairs = [(name, data.draw(values)) for name in listed]
    raw = block(line, pairs) + body
    slow = read_responses([raw], method, eof)
    known = block(
        b"HTTP/1.1 200 OK", [(name, HARMLESS.get(name.lower(), PLAIN)) for name in listed]
    )
    if read_responses([known])[-1] == ("ways", True):
        assert read_responses([raw], method, eof, warm=known) == slow
    if slow[-1:] != [("ways", False)]:  # bytes behind a response count as they come
        split = read_responses(cut(raw, places), method, eof)
        assert whatever_the_split(split) == whatever_the_split(slow)


# --------------------------------------------------------------------------- h11 as the judge


def h11_frames(raw: bytes) -> list[Event] | None:
    """(method, target, body) of each whole request, None where h11 refuses something."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    found: list[Event] = []
    method = target = b""
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method, event.target, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found
    except h11.RemoteProtocolError:
        return None
    except h11.LocalProtocolError:
        return found  # it would not go on: the connection closes


def our_frames(raw: bytes) -> list[Event] | None:
    events = read_requests([raw])
    if any(event[0] == "refused" for event in events):
        return None
    found: list[Event] = []
    for event, after in zip(events, [*events[1:], ("",)], strict=True):
        if event[0] == "request" and after == ("end",):
            found.append((event[1], event[2], event[5]))
    return found


@bounded
@given(
    st.lists(
        st.tuples(names, st.sampled_from(LINES), st.sampled_from(BODIES)), min_size=1, max_size=2
    ),
    st.data(),
)
def test_h11_frames_alike(
    heads: list[tuple[list[bytes], bytes, bytes]], data: st.DataObject
) -> None:
    raw = b""
    for listed, line, body in heads:
        pairs = [(b"host", PLAIN), *((name, data.draw(values)) for name in listed)]
        raw += block(line, pairs) + body
    theirs, ours = h11_frames(raw), our_frames(raw)
    if theirs is None or ours is None or b"http://" in raw:
        return  # absolute form is told differently
    if b"CONNECT " in raw or b"upgrade" in raw.lower():
        return  # to us a tunnel begins there, to h11 only when it is agreed to
    assert ours[: len(theirs)] == theirs


@pytest.mark.parametrize("body", [b"abc", b"0\r\n\r\n"])
def test_the_judge_judges(body: bytes) -> None:
    raw = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    assert h11_frames(raw) == our_frames(raw) == [(b"POST", b"/", body)]
