"""What both ends of an HTTP/2 connection have in common (RFC 9113): frames, header blocks, windows.

    first frame: SETTINGS -> frames <-> header block, where only CONTINUATION may come
                                 \\-> failed: GOAWAY was written, nothing is read any more

The state is the table of frame handlers in use. Faults of the connection are raised from `feed` as
ConnectionFailed; a fault of a stream resets the stream and is told to the sink.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.http.h2 import errors, frames
from proxy.http.h2.control import Control, check_dependency
from proxy.http.h2.decoder import Decoder
from proxy.http.h2.encoder import Layout as Order
from proxy.http.h2.errors import BadBlock, ConnectionFailed
from proxy.http.h2.faults import Sink, protocol
from proxy.http.h2.fields import Layout, trailer_layouts
from proxy.http.h2.frames import FRAME_HEAD_BYTES, MIN_FRAME_BYTES, unpack_head
from proxy.http.h2.options import Options
from proxy.http.h2.sender import UNKNOWN, StreamState, Write

STREAM_ID_BITS = 0x7FFFFFFF
KINDS = 256  # of frames, by one byte
MAX_CONTINUATIONS = 8  # as nghttp2
LARGEST = MIN_FRAME_BYTES << 8 | 0xFF  # length and type of the largest frame that we allow
MANY_FRAMES = 256
UNUSUAL_FLAGS = frames.END_HEADERS | frames.PADDED | frames.WITH_PRIORITY
END_HEADERS, END_STREAM, PADDED = frames.END_HEADERS, frames.END_STREAM, frames.PADDED


class Connection(Control):
    """options: what we allow. write: takes bytes for the peer."""

    __slots__ = (
        "_block", "_block_flags", "_block_stream", "_decoder", "_handlers", "_held", "_layout_room",
        "_max_bytes", "_max_fields", "_partial", "_receive_window", "_refill_at", "_stream_window",
        "_taken", "_trailer_layout",
    )  # fmt: skip

    def __init__(self, sink: Sink, options: Options, write: Write, order: Order) -> None:
        super().__init__(sink, options, write, order)
        self._decoder = Decoder(options.hpack_table_size)
        self._max_bytes = options.max_header_bytes
        self._max_fields = options.max_headers
        self._partial = b""
        self._handlers: tuple[Handler, ...] = _FIRST
        self._refill_at = (options.initial_connection_window_size + 1) // 2
        self._trailer_layout = trailer_layouts.of([])  # the last one
        self._layout_room = -1  # bytes that values may have beside the names of the last layout
        # Receiving windows: what came and was not given back, and what of it paused streams hold.
        self._taken = 0
        self._held = 0
        self._receive_window = options.initial_connection_window_size
        self._stream_window = options.initial_stream_window_size
        # The header block that is coming in pieces.
        self._block: list[bytes] = []
        self._block_stream = 0
        self._block_flags = 0

    # ------------------------------------------------------------------ bytes

    def _start(self, values: list[tuple[int, int]]) -> None:
        """Our settings, and the connection's window opened to its size."""
        hello = frames.settings(values)
        more = self._receive_window - frames.DEFAULT_WINDOW
        if more > 0:
            hello += frames.window_update(0, more)
        self._write(hello)

    def _our_settings(self) -> list[tuple[int, int]]:
        options = self._options
        values = []
        if options.hpack_table_size != 4096:
            values.append((frames.HEADER_TABLE_SIZE, options.hpack_table_size))
        values.append((frames.MAX_CONCURRENT_STREAMS, options.max_concurrent_streams))
        values.append((frames.INITIAL_WINDOW_SIZE, self._stream_window))
        values.extend(options.custom_settings)
        return values

    def feed(self, data: bytes) -> None:
        """Bytes of the peer. Raises ConnectionFailed, once."""
        if self._failed:
            return
        try:
            self._read(data)
        except BadBlock as error:
            raise self._fail(errors.COMPRESSION_ERROR, str(error)) from None
        except ConnectionFailed as failure:
            self._fail(failure.code, failure.detail)
            raise
        finally:
            for stream_id in list(self._heads) if self._heads else ():
                self._tell_head(stream_id)

    def _read(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        if self._controls or self._frames > MANY_FRAMES:
            self._note_leaving()
        at = 0
        size = len(data)
        start = FRAME_HEAD_BYTES
        while start <= size:
            word, flags, stream_id = unpack_head(data, at)
            if word > LARGEST:
                raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "a frame is too large")
            end = start + (word >> 8)
            if end > size:
                break
            self._handlers[word & 0xFF](self, flags, stream_id & STREAM_ID_BITS, data[start:end])
            at = end
            start = end + FRAME_HEAD_BYTES
        self._partial = data[at:]

    def _on_first(self, flags: int, stream_id: int, payload: bytes) -> None:
        """The first frame must be SETTINGS (section 3.4)."""
        if flags & frames.ACK:
            raise protocol("SETTINGS are acknowledged before there are any")
        self._handlers = _HANDLERS
        self._on_settings(flags, stream_id, payload)

    # ------------------------------------------------------------------ header blocks

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & UNUSUAL_FLAGS == END_HEADERS:
            self._on_block(stream_id, payload, flags & END_STREAM != 0)
            return
        if not stream_id:
            raise protocol("HEADERS on stream 0")
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFailed(errors.FRAME_SIZE_ERROR, "HEADERS without its priority")
            check_dependency(stream_id, payload)
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, payload, flags & frames.END_STREAM != 0)
            return
        if not payload and not flags & frames.END_STREAM:
            self._note_empty()
        self._block = [payload]
        self._block_stream = stream_id
        self._block_flags = flags
        self._handlers = _CONTINUED

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id != self._block_stream:
            raise protocol("CONTINUATION of another stream")
        if not payload and not flags & frames.END_HEADERS:
            self._note_empty()
        self._block.append(payload)
        if len(self._block) > MAX_CONTINUATIONS + 1:
            raise ConnectionFailed(errors.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        if flags & frames.END_HEADERS:
            block = b"".join(self._block)
            self._block = []
            self._handlers = _HANDLERS
            self._on_block(stream_id, block, self._block_flags & frames.END_STREAM != 0)

    def _on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        raise NotImplementedError

    def _room_beside(self, layout: Layout) -> int:
        """How many bytes the values of a block of these names may have; -1: it can't be taken."""
        return self._max_bytes - layout.size if layout.count <= self._max_fields else -1

    def _read_trailers(self, stream_id: int, stream: StreamState, block: bytes, end: bool) -> None:
        """A second block of a message."""
        decoder = self._decoder
        names, values = decoder.decode(block)
        layout = self._trailer_layout
        if names != layout.names:
            layout = self._trailer_layout = trailer_layouts.of(names)
        if stream_id in self._heads:
            self._tell_head(stream_id)
            if stream_id not in self._open:
                return
        if stream.remote_closed:
            self._spoil(stream_id, stream, errors.STREAM_CLOSED, errors.MESSAGING)
        elif decoder.size + layout.size > self._max_bytes or layout.count > self._max_fields:
            self._overflow(stream_id, stream, layout.count)
        elif decoder.tainted or layout.fault:
            self._malformed(stream_id, stream, layout.fault or errors.INVALID_FIELD)
        elif not end or stream.expected > 0:
            self._malformed(stream_id, stream, errors.MESSAGING)
        else:
            self._close_remote(stream_id, stream)
            self._sink.on_trailers(stream_id, layout.headers(values))

    # ------------------------------------------------------------------ DATA

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        if flags & PADDED:
            payload = _unpadded(payload)
        self._taken += size
        if self._taken >= self._refill_at:
            self._refill()
        end = flags & END_STREAM != 0
        if payload or end:
            self._empty_frames = 0
        else:
            self._note_empty()
        stream = self._open.get(stream_id)
        if stream is None or stream.remote_closed:
            self._stray_data(stream_id, stream)
            return
        expected = stream.expected
        if expected != UNKNOWN:
            stream.expected = expected = expected - len(payload)
            if expected < 0 or (end and expected):  # or there was no head yet
                self._events.count("rx_messaging_error")
                self._spoil(stream_id, stream, errors.PROTOCOL_ERROR, errors.MESSAGING)
                return
        if stream.taken + size > self._stream_window:
            self._spoil(stream_id, stream, errors.FLOW_CONTROL_ERROR, errors.MESSAGING)
            return
        if end:
            stream.remote_closed = True
            if stream.local_closed:
                self._forget(stream_id, stream)
        else:
            stream.taken += size
            if stream.paused:
                stream.held += size
                self._held += size
            elif stream.taken * 2 >= self._stream_window:
                self._write(frames.window_update(stream_id, stream.taken))
                stream.taken = 0
        if stream_id in self._heads:
            self._on_head(stream_id, self._heads.pop(stream_id), payload, end)
        elif payload or end:
            self._sink.on_data(stream_id, payload, end)

    def _refill(self) -> None:
        """Half of the connection's window is used, or more; opens it again if that is not all held
        by paused streams."""
        if self._taken > self._receive_window:
            raise ConnectionFailed(errors.FLOW_CONTROL_ERROR, "the connection's window is overrun")
        free = self._taken - self._held
        if free * 2 >= self._receive_window:
            self._write(frames.window_update(0, free))
            self._taken = self._held

    def _stray_data(self, stream_id: int, stream: StreamState | None) -> None:
        """DATA where none may come; of a stream that is gone it was perhaps on its way."""
        if self._idle(stream_id):
            raise protocol("DATA on an idle stream")
        if stream is not None:
            self._spoil(stream_id, stream, errors.STREAM_CLOSED, errors.MESSAGING)

    def pause(self, stream_id: int) -> None:
        """From now on what comes on the stream doesn't open its window again."""
        stream = self._open.get(stream_id)
        if stream is not None:
            stream.paused = True

    def resume(self, stream_id: int) -> None:
        stream = self._open.get(stream_id)
        if stream is None or not stream.paused:
            return
        stream.paused = False
        self._release(stream)
        if stream.taken * 2 >= self._stream_window and not stream.remote_closed:
            self._write(frames.window_update(stream_id, stream.taken))
            stream.taken = 0

    def _release(self, stream: StreamState) -> None:
        self._held -= stream.held
        stream.held = 0
        self._refill()

    def _close_remote(self, stream_id: int, stream: StreamState) -> None:
        stream.remote_closed = True
        if stream.local_closed:
            self._forget(stream_id, stream)


def _unpadded(payload: bytes) -> bytes:
    """RFC 9113 section 6.1; the padding's bytes may be anything."""
    if not payload or payload[0] >= len(payload):
        raise protocol("there is more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def _not_now(connection: Connection, flags: int, stream_id: int, payload: bytes) -> None:
    raise protocol("a frame that may not come here")


def _ignored(connection: Connection, flags: int, stream_id: int, payload: bytes) -> None:
    """Of a kind that we don't know (section 5.5)."""


Handler = Callable[[Connection, int, int, bytes], None]
_HANDLERS: tuple[Handler, ...] = (
    Connection._on_data,
    Connection._on_headers,
    Connection._on_priority,
    Connection._on_reset,
    Connection._on_settings,
    Connection._on_push_promise,
    Connection._on_ping,
    Connection._on_goaway,
    Connection._on_window_update,
    _not_now,
    *[_ignored] * (KINDS - 1 - frames.CONTINUATION),
)
_FIRST: tuple[Handler, ...] = tuple(
    [Connection._on_first if kind == frames.SETTINGS else _not_now for kind in range(KINDS)]
)
_CONTINUED: tuple[Handler, ...] = tuple(
    [
        Connection._on_continuation if kind == frames.CONTINUATION else _not_now
        for kind in range(KINDS)
    ]
)
