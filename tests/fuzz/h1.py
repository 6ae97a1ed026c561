"""HTTP/1: whatever comes, in whatever pieces, is read the same, and ends where h11 says it ends."""

from __future__ import annotations

from collections.abc import Hashable

import h11

from tests.support.codec import Event, read_requests, read_responses

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /p?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    b"2;x=y\r\nde\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n"
    b""
    b"A\r\n0123456789\r\n0\r\nt: 1\r\nu: 2\r\n\r\n"
    b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET http://h:80/x HTTP/1.1\r\nHost: h:80\r\nExpect: 100-continue\r\n"
    b"Content-Length: 1\r\n\r\nx",
    b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03",
    b"\r\nHEAD /h HTTP/1.0\r\nConnection: keep-alive\r\nX-A:  spaced \t\r\n\r\n",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n",
    b"HTTP/1.0 200 \r\nServer: s\r\n\r\nuntil the end",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nConnection: close\r\n\r\n",
)
WORDS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b"0\r\n\r\n",
    b"0\r\n",
    b"5\r\nhello\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5, 5\r\n",
    b"chunked, ",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: +5\r\n",
    b"Connection: close\r\n",
    b"Host: a\r\n",
    b"GET / HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b" HTTP/1.1",
    b"HTTP/1.0",
    b"\x00",
    b"ffffffffffffffff\r\n",
    b"0x5\r\n",
    b"5 \r\n",
    b"5;a=b\r\n",
    b"Upgrade: h2c\r\n",
    b"\xff",
    b"a" * 100,
)
Message = tuple[bytes, bytes]


def check(data: bytes, at: int) -> Hashable:
    """Reads `data` as requests or as responses, whole and split at `at`. AssertionError where that
    differs, or where h11 disagrees; else what kind of answer it was."""
    if data.startswith(b"HTTP/"):
        return _check_response(data, at)
    events = read_requests([data])
    split = read_requests(_pieces(data, at))
    assert _plain(events) == _plain(split), f"split at {at}: {split}, whole: {events}"
    if any(event[0] == "end" for event in events):
        _agree(_told(events), _h11_requests(data))
    return _kind(events)


def _check_response(data: bytes, at: int) -> Hashable:
    events = _first(read_responses([data], eof=True))
    split = _first(read_responses(_pieces(data, at), eof=True))
    assert _plain(events) == _plain(split), f"split at {at}: {split}, whole: {events}"
    if any(event[0] == "end" for event in events):
        _agree(_told(events), _h11_response(data))
    return _kind(events)


def _pieces(data: bytes, at: int) -> list[bytes]:
    return [piece for piece in (data[:at], data[at:]) if piece]


def _plain(events: list[Event]) -> list[Event]:
    """The whole messages. How much of one that was refused had been told depends on the pieces, and
    so does whether a bad beginning is refused at once or when the rest is there."""
    kept = list(events)
    while kept and kept[-1][0] in ("request", "response", "1xx", "refused"):
        kept.pop()
    return kept


def _first(events: list[Event]) -> list[Event]:
    """Up to the end of the response: what comes after it answers nobody."""
    ends = [number for number, event in enumerate(events) if event[0] == "end"]
    return events[: ends[0] + 1] if ends else events


def _kind(events: list[Event]) -> Hashable:
    return tuple(
        (event[0], event[1] if event[0] in ("refused", "1xx", "ways") else "")
        for event in events[:8]
    )


class Told:
    """Whole messages as (method or status, body); `open`: one more has begun, and could go on."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.stopped = False  # refused, or nothing more is read on purpose


def _told(events: list[Event]) -> Told:
    told = Told()
    head: tuple[bytes, bytes] = (b"", b"")
    for event in events:
        if told.stopped:
            break
        if event[0] == "request":
            head = (event[1], event[-1])
            told.stopped = event[1] == b"CONNECT"
        elif event[0] == "response":
            head = (b"%d" % event[1], event[-1])
        elif event[0] == "end":
            told.messages.append(head)
        elif event[0] == "refused" or (event[0] == "ways" and (not event[1] or event[-1])):
            told.stopped = True
    return told


def _agree(weft: Told, judge: Told) -> None:
    for one, other in zip(weft.messages, judge.messages, strict=False):
        assert one == other, f"Weft reads {one}, h11 {other}"
    more = len(weft.messages) - len(judge.messages)
    assert more <= 0 or judge.stopped, f"Weft reads {weft.messages}, h11 only {judge.messages}"
    assert more >= 0 or weft.stopped, f"h11 reads {judge.messages}, Weft only {weft.messages}"


def _h11_requests(data: bytes) -> Told:
    told, body, head = Told(), bytearray(), b""
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        judge.receive_data(data)
        while True:
            event = judge.next_event()
            if isinstance(event, h11.Request):
                head, body = event.method, bytearray()
                if _special(event):
                    told.stopped = True
                    return told
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                told.messages.append((head, bytes(body)))
                if judge.their_state is not h11.DONE:
                    told.stopped = True
                    return told
                judge.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                judge.send(h11.EndOfMessage())
                if judge.our_state is not h11.DONE:
                    told.stopped = True
                    return told
                judge.start_next_cycle()
            else:
                return told
    except h11.RemoteProtocolError:
        told.stopped = True
        return told


def _special(request: h11.Request) -> bool:
    """After these the bytes may be another protocol's."""
    return request.method == b"CONNECT" or any(name == b"upgrade" for name, _ in request.headers)


def _h11_response(data: bytes) -> Told:
    told, body, head = Told(), bytearray(), b""
    judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    judge.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    judge.send(h11.EndOfMessage())
    try:
        judge.receive_data(data)
        judge.receive_data(b"")
        while True:
            event = judge.next_event()
            if isinstance(event, h11.Response):
                head = b"%d" % event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                told.messages.append((head, bytes(body)))
                told.stopped = True
                return told
            elif not isinstance(event, h11.InformationalResponse):
                told.stopped = True
                return told
    except h11.RemoteProtocolError:
        told.stopped = True
        return told
