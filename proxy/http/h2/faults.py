"""What happens when the peer errs or floods: of a stream a reset, of the connection its end.

Envoy's limits on frames (`Http2ProtocolOptions`) and its words for what was wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from proxy.http.h2 import errors, frames
from proxy.http.h2.encoder import Layout as Order
from proxy.http.h2.errors import ConnectionFailed
from proxy.http.h2.options import Options
from proxy.http.h2.sender import Sender, SenderSink, StreamState, Write
from proxy.http.headers import Headers


class Sink(SenderSink, Protocol):
    """What a connection tells. A message ends with `end`, or with its trailers."""

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None: ...
    def on_trailers(self, stream_id: int, headers: Headers) -> None: ...
    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None: ...
    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None: ...
    def on_settings(self) -> None: ...
    def on_ping_ack(self, data: bytes) -> None: ...
    def unsent(self) -> int: ...


class Faults(Sender):
    """Knows what the peer may do wrong and how often; the base of both kinds of frame readers."""

    __slots__ = (
        "_empty_frames", "_failed", "_heads", "_last_id", "_on_head", "_opened", "_options",
        "_priority_frames", "_sink", "_update_frames",
    )  # fmt: skip

    # What of the sink takes a head: (stream, head, data, end); whoever knows which kind sets it.
    _on_head: Callable[[int, Any, bytes, bool], None]

    def __init__(self, sink: Sink, options: Options, write: Write, order: Order) -> None:
        super().__init__(sink, write, order)
        self._sink = sink
        self._options = options
        self._failed = False
        self._last_id = 0  # the highest stream opened: of a server by the peer, of a client by us
        self._opened = 0
        # Heads of this read that are not told yet, since what of their bodies came goes with them.
        self._heads: dict[int, Any] = {}
        self._empty_frames = 0  # in a row
        self._priority_frames = 0
        self._update_frames = 0

    def _fail(self, code: int, detail: str) -> ConnectionFailed:
        self._failed = True
        self._write(frames.goaway(self._seen_id(), code, b""))
        return ConnectionFailed(code, detail)

    def _seen_id(self) -> int:
        """The highest stream of the peer's that we have worked on."""
        return self._last_id

    def _note_leaving(self) -> None:
        """Frames count as waiting until all have left (Envoy's outbound frame limits)."""
        if not self._sink.unsent():
            self._frames = self._controls = 0
        elif self._frames > self._options.max_outbound_frames:
            self._events.count("outbound_flood")
            raise ConnectionFailed(errors.ENHANCE_YOUR_CALM, "http2.outbound_frames_flood")

    def _answer(self, data: bytes) -> None:
        """Writes what a frame of the peer's demands."""
        self._frames += 1
        self._controls += 1
        if self._controls > self._options.max_outbound_control_frames:
            self._events.count("outbound_control_flood")
            raise ConnectionFailed(errors.ENHANCE_YOUR_CALM, "http2.outbound_frames_flood")
        self._write(data)

    def _tell_head(self, stream_id: int) -> None:
        """Tells the sink of a head, without more."""
        self._on_head(stream_id, self._heads.pop(stream_id), b"", False)

    def _note_empty(self) -> None:
        """A frame that says nothing (CVE-2019-9518)."""
        self._empty_frames += 1
        if self._empty_frames > self._options.max_consecutive_inbound_frames_with_empty_payload:
            self._events.count("inbound_empty_frames_flood")
            detail = "http2.inbound_empty_frames_flood"
            raise ConnectionFailed(errors.ENHANCE_YOUR_CALM, detail)

    # ------------------------------------------------------------------ faults of a stream

    def _malformed(self, stream_id: int, stream: StreamState | None, detail: str) -> None:
        """RFC 9113 section 8.1.1 asks for a stream error; Envoy ends the connection unless
        stream_error_on_invalid_http_messaging is set."""
        self._events.count("rx_messaging_error")
        self._spoil(stream_id, stream, errors.PROTOCOL_ERROR, detail)
        if not self._options.stream_error_on_invalid_http_messaging:
            raise ConnectionFailed(errors.PROTOCOL_ERROR, detail)

    def _overflow(self, stream_id: int, stream: StreamState | None, fields: int) -> None:
        """A block of more fields or bytes than allowed; Envoy counts only the former."""
        detail = errors.TOO_LONG
        if fields > self._options.max_headers:
            detail = errors.TOO_MANY_HEADERS
            self._events.count("header_overflow")
        self._spoil(stream_id, stream, errors.INTERNAL_ERROR, detail)

    def _spoil(self, stream_id: int, stream: StreamState | None, code: int, detail: str) -> None:
        """Resets a stream for what its peer did. stream: None if the sink has not heard of it; it
        is told all the same, with why, as such a request is logged."""
        if stream_id in self._heads:
            self._tell_head(stream_id)
            stream = self._open.get(stream_id)
            if stream is None:
                return  # the sink gave it up
        if stream is not None:
            self._forget(stream_id, stream)
        self._answer(frames.rst_stream(stream_id, code))
        self._events.count("tx_reset")
        if stream is not None or detail:
            self._sink.on_reset(stream_id, code, detail)


def protocol(detail: str) -> ConnectionFailed:
    return ConnectionFailed(errors.PROTOCOL_ERROR, detail)
