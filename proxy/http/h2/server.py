"""The server's end of an HTTP/2 connection: requests in, responses out."""

from __future__ import annotations

from typing import Protocol

from proxy.http.h2 import errors, frames
from proxy.http.h2.connection import Connection
from proxy.http.h2.encoder import RESPONSE
from proxy.http.h2.faults import Sink, protocol
from proxy.http.h2.fields import BadMessage, Layout, read_request, request_layouts
from proxy.http.h2.frames import PREFACE
from proxy.http.h2.options import Options
from proxy.http.h2.sender import StreamState, WholeStream, Write
from proxy.http.headers import Headers
from proxy.http.message import Request, Response

SWITCHING_PROTOCOLS = 101
STATUSES = tuple([(b"%d" % status,) for status in range(1000)])


class ServerSink(Sink, Protocol):
    def on_request(self, stream_id: int, request: Request, data: bytes, end: bool) -> None: ...


class ServerConnection(Connection):
    """`start` writes our settings; `feed` expects the client's preface first."""

    __slots__ = ("_last_taken", "_layout", "_layouts", "_max_streams", "_prefaced")

    def __init__(self, sink: ServerSink, options: Options, write: Write) -> None:
        super().__init__(sink, options, write, RESPONSE)
        self._on_head = sink.on_request
        self._layouts = request_layouts[options.underscores]
        self._layout = self._layouts.of([])  # the last one: most requests have the same
        self._layout_room = self._room_beside(self._layout)
        self._max_streams = options.max_concurrent_streams
        self._prefaced = False
        self._last_taken = frames.LAST_STREAM_ID  # after our GOAWAY, no stream above it

    def start(self) -> None:
        values = self._our_settings()
        if self._options.allow_connect:
            values.append((frames.ENABLE_CONNECT_PROTOCOL, 1))
        self._start(values)

    def _read(self, data: bytes) -> None:
        if not self._prefaced:
            data = self._partial + data
            if not data.startswith(PREFACE):
                if not PREFACE.startswith(data):
                    raise protocol("no HTTP/2 preface")
                self._partial = data
                return
            self._prefaced = True
            self._partial = b""
            data = data[len(PREFACE) :]
        super()._read(data)

    def goaway(self, code: int = errors.NO_ERROR, debug: bytes = b"") -> None:
        super().goaway(code, debug)
        self._last_taken = self._last_id

    def _seen_id(self) -> int:
        return self._last_id

    def _on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        if stream_id <= self._last_id or not stream_id & 1:
            self._on_later_block(stream_id, block, end)
            return
        self._last_id = stream_id
        self._opened += 1
        decoder = self._decoder
        names, values = decoder.decode(block)
        layout = self._layout
        if names != layout.names:
            layout = self._layout = self._layouts.of(names)
            self._layout_room = self._room_beside(layout)
        if stream_id > self._last_taken or len(self._open) >= self._max_streams:
            self._events.count("stream_refused_errors")
            self._spoil(stream_id, None, errors.REFUSED_STREAM, "")
        elif decoder.size > self._layout_room:
            self._overflow(stream_id, None, layout.count)
        elif decoder.tainted:
            self._malformed(stream_id, None, errors.INVALID_FIELD)
        else:
            self._begin(stream_id, layout, values, end)

    def _begin(self, stream_id: int, layout: Layout, values: list[bytes], end: bool) -> None:
        try:
            request = read_request(layout, values, end, self._options.allow_connect)
        except BadMessage as error:
            self._refuse(stream_id, error.detail)
            return
        if layout.dropped:
            self._events.count("dropped_headers_with_underscores")
        self._open[stream_id] = stream = WholeStream() if end else StreamState()
        if layout.protocol >= 0:
            stream.upgrade = request.upgrade
        if end:
            self._on_head(stream_id, request, b"", True)
            return
        if request.length >= 0:
            stream.expected = request.length
        self._heads[stream_id] = request

    def _refuse(self, stream_id: int, detail: str) -> None:
        if detail == errors.UNDERSCORE:
            self._events.count("requests_rejected_with_underscores_in_headers")
            self._spoil(stream_id, None, errors.PROTOCOL_ERROR, detail)
        else:
            self._malformed(stream_id, None, detail)

    def _on_later_block(self, stream_id: int, block: bytes, end: bool) -> None:
        """Trailers, or HEADERS of a stream that can't begin (section 5.1.1). One that is gone may
        have been reset by us while they were on their way."""
        stream = self._open.get(stream_id)
        if stream is not None:
            if not stream.remote_closed:
                self._events.count("trailers")
            self._read_trailers(stream_id, stream, block, end)
        elif not stream_id & 1:
            raise protocol("a client's stream has an even number")
        else:
            self._decoder.decode(block)

    # ------------------------------------------------------------------ sending

    def send_head(self, stream_id: int, head: Response, end: bool, data: bytes = b"") -> None:
        """data: what of the body is there already; `end` is behind it."""
        stream = self._open.get(stream_id)
        if stream is None or stream.local_closed:
            return
        status = head.status
        if status == SWITCHING_PROTOCOLS and stream.upgrade:
            status = 200  # RFC 8441 section 4
        block = self._encoder.encode(STATUSES[status], head.headers)
        self._head(stream_id, stream, block, data, end)

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        stream = self._open.get(stream_id)
        if stream is not None and not stream.local_closed:
            block = self._encoder.encode(STATUSES[status], headers)
            self._head(stream_id, stream, block, b"", False)
