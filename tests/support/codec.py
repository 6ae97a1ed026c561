"""What an HTTP/1 reader says of a stream of bytes, as plain tuples that tests can compare.

A body is told as one piece, however it came, so that the same bytes split differently must give
the same events:

    ("request", method, path, authority, pairs, body) | ("response", status, pairs, body)
    ("end",) when the body is whole | ("1xx", status) | ("refused", detail, status)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any

from proxy.http.errors import Malformed
from proxy.http.h1 import Limits, RequestReader, ResponseReader
from proxy.http.h1 import plan as plans
from proxy.http.headers import Headers
from proxy.http.message import Request, Response

Event = tuple[Any, ...]
LENIENT = Limits(http_10=True, default_host=b"default")


class Listener:
    """Both kinds of sink."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended = False
        self.upgrade = b""
        self.odd = False

    def on_request(self, request: Request, data: bytes, end: bool) -> None:
        self.upgrade = request.upgrade
        self.odd = request.odd
        head = (request.method, request.path, request.authority, list(request.headers))
        self._begin(("request", *head, b""), data, end)

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        self._begin(("response", response.status, list(response.headers), b""), data, end)

    def on_informational(self, status: int, headers: Headers) -> None:
        self.events.append(("1xx", status))

    def on_data(self, data: bytes) -> None:
        assert data, "no data is no event"
        *head, body = self.events[-1]
        self.events[-1] = (*head, body + data)

    def on_end(self, trailers: Headers | None) -> None:
        self.events.append(("end", list(trailers)) if trailers is not None else ("end",))
        self.ended = True

    def _begin(self, event: Event, data: bytes, end: bool) -> None:
        self.events.append(event)
        if data:
            self.on_data(data)
        if end:
            self.on_end(None)


class Requests:
    """A request reader that answers each request at once, so that the next one is read."""

    def __init__(self, limits: Limits = LENIENT) -> None:
        self.sink = Listener()
        self.reader = RequestReader(self.sink, limits)
        self.dead = False

    def feed(self, data: bytes) -> None:
        if self.dead:
            return
        try:
            self.reader.feed(data)
            while self.sink.ended:
                self.sink.ended = False
                self.sink.events.append(self._ways())
                if self.reader.rearm():
                    self.reader.next_message()
        except Malformed as error:
            self.dead = True
            self.sink.events.append(("refused", error.detail, error.status))

    def _ways(self) -> Event:
        reader = self.reader
        return ("ways", reader.keep_alive, reader.expects_continue, self.sink.upgrade)


def forget_plans() -> None:
    """No shape is known any more, so that the next one to be used is sure to be compiled."""
    for all_plans in (plans.request_plans, plans.response_plans):
        all_plans._plans.clear()
        all_plans._compiled = 0


def read_requests(
    pieces: Iterable[bytes], limits: Limits = LENIENT, warm: bytes = b""
) -> list[Event]:
    """The events of `pieces`. warm: heads read before on the same connection, not told."""
    one = Requests(limits)
    if warm:
        forget_plans()
        one.feed(warm)
        one.sink.events.clear()
    for piece in pieces:
        one.feed(piece)
    return one.sink.events


def read_responses(
    pieces: Iterable[bytes],
    method: bytes = b"GET",
    eof: bool = False,
    limits: Limits = LENIENT,
    warm: bytes = b"",
) -> list[Event]:
    """The events of one response to a request of `method`. warm: one response, read before."""
    sink = Listener()
    reader = ResponseReader(sink, limits)
    if warm:
        forget_plans()
        for _ in range(plans.COMPILE_AFTER_USES + 1):
            reader.expect(b"GET")
            reader.feed(warm)
        sink.events.clear()
        sink.ended = False
    reader.expect(method)
    try:
        for piece in pieces:
            reader.feed(piece)
        if eof:
            reader.eof()
    except Malformed as error:
        return [*sink.events, ("refused", error.detail)]
    if sink.ended:
        sink.events.append(("ways", reader.keep_alive))
    return sink.events


def whatever_the_split(events: list[Event]) -> list[Event]:
    """What must not depend on how the bytes came: of a refused message its head and the refusal,
    not its words nor how much of the body was passed on before."""
    if not events or events[-1][0] != "refused":
        return events
    *before, _ = events
    if before and before[-1][0] in ("request", "response"):
        before[-1] = before[-1][:-1]
    return [*before, ("refused",)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def splits(data: bytes) -> Iterator[list[bytes]]:
    """In two pieces, at every position."""
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """In pieces, cut at `places`."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def pairs_of_places(data: bytes) -> Iterator[list[bytes]]:
    """In three pieces, at every pair of positions: for short data only."""
    for places in combinations(range(1, len(data)), 2):
        yield cut(data, places)
