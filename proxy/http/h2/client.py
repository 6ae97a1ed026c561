"""The client's end of an HTTP/2 connection: requests out, responses in."""

from __future__ import annotations

from typing import Protocol

from proxy.http.h2 import errors, frames
from proxy.http.h2.connection import Connection
from proxy.http.h2.encoder import CONNECT, EXTENDED_CONNECT, REQUEST
from proxy.http.h2.faults import Sink, protocol
from proxy.http.h2.fields import BadMessage, Layout, read_response, response_layouts
from proxy.http.h2.frames import LAST_STREAM_ID, PREFACE
from proxy.http.h2.options import Options
from proxy.http.h2.sender import BEFORE_HEAD, UNKNOWN, StreamState, Write
from proxy.http.headers import EMPTY, Headers, Shape
from proxy.http.message import Request, Response

BODILESS = (204, 304)
SWITCHING_PROTOCOLS = 101
# A response as it was read last: the decoder's values (the same list, if its block is one that came
# before), status, shape and values of its headers, length.
Seen = tuple[list[bytes], int, Shape, tuple[bytes, ...], int]
_NOTHING: Seen = ([], 0, EMPTY, (), 0)


class ClientSink(Sink, Protocol):
    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None: ...
    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None: ...


class AwaitedStream(StreamState):
    """A stream of ours, whose response is still to come."""

    expected = BEFORE_HEAD


class ClientConnection(Connection):
    """`start` writes the preface and our settings."""

    __slots__ = ("_layout", "_leaving", "_next_id", "_responses", "_seen")

    def __init__(self, sink: ClientSink, options: Options, write: Write) -> None:
        super().__init__(sink, options, write, REQUEST)
        self._responses = sink
        self._on_head = sink.on_response
        self._layout = response_layouts.of([])  # the last one: most responses have the same
        self._layout_room = self._room_beside(self._layout)
        self._seen = _NOTHING
        self._next_id = 1
        self._leaving = False

    def start(self) -> None:
        self._write(PREFACE)
        self._start([(frames.ENABLE_PUSH, 0), *self._our_settings()])

    @property
    def max_streams(self) -> int:
        """How many may be open at a time."""
        return min(self._peer_streams, self._options.max_concurrent_streams)

    @property
    def can_open(self) -> bool:
        return (
            not self._leaving
            and not self._failed
            and len(self._open) < self.max_streams
            and self._next_id <= LAST_STREAM_ID
        )

    @property
    def leaving(self) -> bool:
        """The peer has said GOAWAY."""
        return self._leaving

    def new_stream(self) -> int:
        """The number of a new stream, for `send_head` at once."""
        stream_id = self._next_id
        self._next_id = stream_id + 2
        return stream_id

    # ------------------------------------------------------------------ sending

    def send_head(self, stream_id: int, head: Request, end: bool, data: bytes = b"") -> None:
        """data: what of the body is there already; `end` is behind it."""
        stream = AwaitedStream()
        self._open[stream_id] = stream
        self._last_id = stream_id
        self._opened += 1
        if head.upgrade:
            stream.upgrade = head.upgrade
            stream.odd = True
            tunnel = (b"CONNECT", head.upgrade, head.scheme, head.path, head.authority)
            block = self._encoder.encode_as(EXTENDED_CONNECT, tunnel, head.headers)
        elif head.method == b"CONNECT":
            block = self._encoder.encode_as(CONNECT, (b"CONNECT", head.authority), head.headers)
        else:
            if head.method == b"HEAD":
                stream.bodiless = stream.odd = True
            values = (head.method, head.scheme, head.path, head.authority)
            block = self._encoder.encode(values, head.headers)
        self._head(stream_id, stream, block, data, end)

    # ------------------------------------------------------------------ receiving

    def _on_leaving(self, last_stream_id: int) -> None:
        self._leaving = True
        for stream_id in [known for known in self._open if known > last_stream_id]:
            if stream_id in self._open:  # who is told may give up others
                self._forget(stream_id, self._open[stream_id])
                self._sink.on_reset(stream_id, errors.REFUSED_STREAM, errors.REMOTE_REFUSE)

    def _on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        stream = self._open.get(stream_id)
        if stream is None or stream.expected != BEFORE_HEAD:
            self._on_later_block(stream_id, stream, block, end)
            return
        decoder = self._decoder
        names, values = decoder.decode(block)
        if values is self._seen[0] and not end and not stream.odd:
            _, status, shape, kept, stream.expected = self._seen
            self._heads[stream_id] = Response(status, Headers(shape, kept), stream.expected)
            return
        layout = self._layout
        if names != layout.names:
            layout = self._layout = response_layouts.of(names)
            self._layout_room = self._room_beside(layout)
        if decoder.size > self._layout_room:
            self._overflow(stream_id, stream, layout.count)
        elif decoder.tainted:
            self._malformed(stream_id, stream, errors.INVALID_FIELD)
        else:
            self._begin(stream_id, stream, layout, values, end)

    def _begin(
        self, stream_id: int, stream: StreamState, layout: Layout, values: list[bytes], end: bool
    ) -> None:
        try:
            response = read_response(layout, values, end)
            if response.status < 200:
                self._take_informational(stream_id, response, end)
                return
            self._frame_body(stream, response, end)
        except BadMessage as error:
            self._malformed(stream_id, stream, error.detail)
            return
        if end:
            self._close_remote(stream_id, stream)
            self._responses.on_response(stream_id, response, b"", True)
        else:
            self._heads[stream_id] = response
            if not stream.odd:
                headers = response.headers
                self._seen = (
                    values, response.status, headers.shape, headers.values, response.length
                )  # fmt: skip

    def _on_later_block(
        self, stream_id: int, stream: StreamState | None, block: bytes, end: bool
    ) -> None:
        """Trailers, or the head of a response that nobody waits for any more."""
        if stream is not None:
            self._read_trailers(stream_id, stream, block, end)
        elif self._idle(stream_id):
            raise protocol("HEADERS on a stream that we did not open")
        else:
            self._decoder.decode(block)

    def _frame_body(self, stream: StreamState, response: Response, end: bool) -> None:
        """What must come, and what `response.length` says of it (section 8.1.1)."""
        length = response.length
        if stream.bodiless or response.status in BODILESS:
            stream.expected = response.length = 0
        elif stream.upgrade and response.status == 200:
            response.status = SWITCHING_PROTOCOLS  # RFC 8441 section 4, the other way round
            stream.expected = UNKNOWN
        elif end and length > 0:
            raise BadMessage(errors.MESSAGING)
        else:
            stream.expected = length

    def _take_informational(self, stream_id: int, response: Response, end: bool) -> None:
        if end:
            raise BadMessage(errors.MESSAGING)
        self._responses.on_informational(stream_id, response.status, response.headers)
