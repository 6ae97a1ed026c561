"""Frames that carry nothing of a message: SETTINGS, PING, GOAWAY, windows, resets, priorities."""

from __future__ import annotations

from proxy.http.h2 import errors, frames
from proxy.http.h2.encoder import Layout as Order
from proxy.http.h2.errors import ConnectionFailed
from proxy.http.h2.faults import Faults, Sink, protocol
from proxy.http.h2.frames import LAST_STREAM_ID, MAX_FRAME_BYTES, MAX_WINDOW, MIN_FRAME_BYTES
from proxy.http.h2.options import Options
from proxy.http.h2.sender import StreamState, Write

PING_BYTES = 8


class Control(Faults):
    """peer_allows_connect: SETTINGS_ENABLE_CONNECT_PROTOCOL was sent (RFC 8441)."""

    __slots__ = ("_peer_streams", "peer_allows_connect")

    def __init__(self, sink: Sink, options: Options, write: Write, order: Order) -> None:
        super().__init__(sink, options, write, order)
        self.peer_allows_connect = False
        self._peer_streams = MAX_WINDOW

    # ------------------------------------------------------------------ other frames

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Without effect (RFC 9113 section 5.3.2), but it must be well-formed."""
        if not stream_id:
            raise protocol("PRIORITY on stream 0")
        if len(payload) != 5:
            raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")
        check_dependency(stream_id, payload)
        self._priority_frames += 1
        allowed = self._options.max_inbound_priority_frames_per_stream * (1 + self._opened)
        if self._priority_frames > allowed:
            self._events.count("inbound_priority_frames_flood")
            raise ConnectionFailed(errors.ENHANCE_YOUR_CALM, "too many PRIORITY frames")

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes long")
        if self._idle(stream_id):
            raise protocol("RST_STREAM on an idle stream")
        stream = self._open.get(stream_id)
        self._events.count("rx_reset")
        if stream_id in self._heads:
            self._tell_head(stream_id)
            stream = self._open.get(stream_id)
        if stream is not None:
            code = int.from_bytes(payload, "big")
            refused = code == errors.REFUSED_STREAM
            self._forget(stream_id, stream)
            detail = errors.REMOTE_REFUSE if refused else errors.REMOTE_RESET
            self._sink.on_reset(stream_id, code, detail)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise protocol("SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "SETTINGS acknowledged with data")
            return
        if len(payload) % 6:
            raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "SETTINGS is cut off")
        for identifier, value in frames.read_settings(payload):
            self._apply(identifier, value)
        self._answer(frames.SETTINGS_ACK)
        self._sink.on_settings()
        if self._waiting:
            self._drain()

    def _apply(self, identifier: int, value: int) -> None:
        """One setting of the peer's (section 6.5.2); unknown ones have no effect."""
        if identifier == frames.HEADER_TABLE_SIZE:
            self._encoder.resize(value)
        elif identifier == frames.ENABLE_PUSH:
            if value > 1:
                raise protocol("ENABLE_PUSH is neither 0 nor 1")
        elif identifier == frames.MAX_CONCURRENT_STREAMS:
            self._peer_streams = value
        elif identifier == frames.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFailed(errors.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
            self._initial_window = value
            if any(value + stream.credit > MAX_WINDOW for stream in self._open.values()):
                raise ConnectionFailed(errors.FLOW_CONTROL_ERROR, "a window is too large")
        elif identifier == frames.MAX_FRAME_SIZE:
            if not MIN_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
                raise protocol("MAX_FRAME_SIZE is out of range")
        elif identifier == frames.ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (self.peer_allows_connect and not value):
                raise protocol("ENABLE_CONNECT_PROTOCOL is neither 0 nor 1, or taken back")
            self.peer_allows_connect = value == 1

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise protocol("PING on a stream")
        if len(payload) != PING_BYTES:
            raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "PING is not 8 bytes long")
        if flags & frames.ACK:
            self._sink.on_ping_ack(payload)
        else:
            self._answer(frames.frame(frames.PING, frames.ACK, 0, payload))

    def ping(self, data: bytes) -> None:
        """data: 8 bytes, which come back in `on_ping_ack`."""
        self._write(frames.frame(frames.PING, 0, 0, data))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise protocol("GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "GOAWAY is cut off")
        last = int.from_bytes(payload[:4], "big") & LAST_STREAM_ID
        self._on_leaving(last)
        self._sink.on_goaway(last, int.from_bytes(payload[4:8], "big"), payload[8:])

    def _on_leaving(self, last_stream_id: int) -> None:
        """The peer will look at no stream of ours above `last_stream_id`."""

    def goaway(self, code: int = errors.NO_ERROR, debug: bytes = b"") -> None:
        """We take no more streams; those that are open go on."""
        self._write(frames.goaway(self._seen_id(), code, debug))

    def shutdown_notice(self) -> None:
        """A GOAWAY is coming: open no more streams, but those on their way are taken (RFC 9113
        section 6.8)."""
        self._write(frames.goaway(LAST_STREAM_ID, errors.NO_ERROR, b""))

    def _seen_id(self) -> int:
        """The highest stream of the peer's that we have worked on."""
        return 0

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes long")
        self._count_update()
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            if not increment:
                raise protocol("WINDOW_UPDATE by 0")
            self._window += increment
            if self._window > MAX_WINDOW:
                raise ConnectionFailed(errors.FLOW_CONTROL_ERROR, "the window is too large")
        else:
            stream = self._open.get(stream_id)
            if stream is None:
                if self._idle(stream_id):
                    raise protocol("WINDOW_UPDATE on an idle stream")
                return
            self._open_window(stream_id, stream, increment)
        if self._waiting:
            self._drain()

    def _open_window(self, stream_id: int, stream: StreamState, increment: int) -> None:
        if not increment:
            self._spoil(stream_id, stream, errors.PROTOCOL_ERROR, errors.MESSAGING)
            return
        if stream.local_closed:
            return  # nothing more is sent, and what was sent last was not counted
        stream.credit += increment
        if self._initial_window + stream.credit > MAX_WINDOW:
            self._spoil(stream_id, stream, errors.FLOW_CONTROL_ERROR, errors.MESSAGING)

    def _count_update(self) -> None:
        """Envoy's bound: so many for each DATA frame that we sent."""
        self._update_frames += 1
        options = self._options
        allowed = 5 + 2 * (
            self._opened
            + options.max_inbound_window_update_frames_per_data_frame_sent * self._data_frames
        )
        if self._update_frames > allowed:
            self._events.count("inbound_window_update_frames_flood")
            raise ConnectionFailed(errors.ENHANCE_YOUR_CALM, "too many WINDOW_UPDATE frames")

    def _idle(self, stream_id: int) -> bool:
        """Nobody has opened it yet."""
        return stream_id > self._last_id or stream_id & 1 == 0  # even: pushed, which is not allowed

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise protocol("PUSH_PROMISE, which was not allowed")  # section 8.4


def check_dependency(stream_id: int, payload: bytes) -> None:
    """A stream can't depend on itself (RFC 7540 section 5.3.1)."""
    if int.from_bytes(payload[:4], "big") & LAST_STREAM_ID == stream_id:
        raise protocol("a stream depends on itself")
