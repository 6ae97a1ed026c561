"""What the HTTP/2 codec tells and writes, in memory: a listener for both ends, frames as tuples.

Events are told with a body in one piece, however it came:

    ("request", id, method, path, authority, pairs, body, ended) | ("response", id, status, ...)
    ("trailers", id, pairs) | ("reset", id, code, detail) | ("goaway", last id, code) | ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.http.h2 import ConnectionFailed, Options, ServerConnection
from proxy.http.h2 import frames as wire
from proxy.http.headers import Headers
from proxy.http.message import Request, Response

Event = list[Any]
HELLO = wire.PREFACE + wire.settings([])
BODY = b"hello, world"


class Listener:
    """Both kinds of sink. answers: give every whole request a 200 with BODY."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.counts: list[str] = []
        self.windows: list[int] = []
        self.open: dict[int, Event] = {}
        self.unsent_bytes = 0
        self.answering: ServerConnection | None = None

    def on_request(self, stream_id: int, request: Request, data: bytes, end: bool) -> None:
        head = (request.method, request.path, request.authority, list(request.headers))
        self._begin(stream_id, ["request", stream_id, *head], data, end)

    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None:
        head = ["response", stream_id, response.status, list(response.headers)]
        self._begin(stream_id, head, data, end)

    def _begin(self, stream_id: int, event: Event, data: bytes, end: bool) -> None:
        event += [b"", False]
        self.events.append(event)
        self.open[stream_id] = event
        self.on_data(stream_id, data, end)

    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        self.events.append(["1xx", stream_id, status, list(headers)])

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        event = self.open[stream_id]
        event[-2] += data
        if end:
            self._finish(stream_id)

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        self.events.append(["trailers", stream_id, list(headers)])
        self._finish(stream_id)

    def _finish(self, stream_id: int) -> None:
        self.open.pop(stream_id)[-1] = True
        if self.answering is not None:
            pairs = [(b"content-length", b"%d" % len(BODY)), (b"server", b"test")]
            self.answering.send_head(stream_id, Response(200, Headers.of(pairs)), False)
            self.answering.send_data(stream_id, BODY, True)

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        self.open.pop(stream_id, None)
        self.events.append(["reset", stream_id, error_code, detail])

    def on_window(self, stream_id: int) -> None:
        self.windows.append(stream_id)

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        self.events.append(["goaway", last_stream_id, error_code, debug])

    def on_settings(self) -> None:
        self.events.append(["settings"])

    def on_ping_ack(self, data: bytes) -> None:
        self.events.append(["pong", data])

    def count(self, name: str) -> None:
        self.counts.append(name)

    def unsent(self) -> int:
        return self.unsent_bytes


Frame = tuple[int, int, int, bytes]  # type, flags, stream, payload


def split_frames(data: bytes) -> Iterator[Frame]:
    at = 0
    while at < len(data):
        word, flags, stream_id = wire.unpack_head(data, at)
        end = at + 9 + (word >> 8)
        yield word & 0xFF, flags, stream_id, data[at + 9 : end]
        at = end


class Server:
    """A server of the codec that answers, and what it writes. `fed` returns the frames written for
    some bytes; failed: the connection's error, once there is one."""

    def __init__(self, options: Options | None = None, *, hello: bytes = HELLO) -> None:
        self.sink = Listener()
        self.written: list[bytes] = []
        self.codec = ServerConnection(self.sink, options or Options(), self.written.append)
        self.sink.answering = self.codec
        self.failed: ConnectionFailed | None = None
        self.codec.start()
        self.hello = self.fed(hello)

    def fed(self, data: bytes) -> list[Frame]:
        try:
            self.codec.feed(data)
        except ConnectionFailed as error:
            self.failed = error
        frames = list(split_frames(b"".join(self.written)))
        self.written.clear()
        return frames
