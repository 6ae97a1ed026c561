"""The sending half of a connection: frames within the peer's windows (RFC 9113 section 5.2).

What doesn't fit a window waits in its stream's queue; when the connection's window opens, the
streams that wait take turns, a frame each. Windows of streams are kept as their difference from the
peer's SETTINGS_INITIAL_WINDOW_SIZE, so that a change of it needs no walk over the streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from proxy.http.h2.encoder import TRAILERS, Encoder, Layout
from proxy.http.h2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MIN_FRAME_BYTES,
    header_frames,
    pack_head,
    rst_stream,
)
from proxy.http.headers import Headers

Write = Callable[[bytes], None]
UNKNOWN: Final = -1
BEFORE_HEAD: Final = -2  # the head of the message is still to come
WHOLE = END_HEADERS | END_STREAM


class StreamState:
    """What the codec knows of an open stream; most streams change little of it.

    expected: bytes of body still to come by content-length, or one of the constants. taken: bytes
    received for which the window was not opened again; held: those of them for which it must not
    be yet, since the stream is paused. credit: our window less the initial one. end_after,
    trailers: how the message ends when the queue has left; reset_after: the code of RST_STREAM
    behind it, if there is to be one."""

    odd = False  # of a client: what the answer's head means depends on the request
    bodiless = False  # ... it has no body, whatever it says
    upgrade = b""
    local_closed = False
    remote_closed = False
    paused = False
    expected = UNKNOWN
    taken = 0
    held = 0
    credit = 0
    queued = 0
    queue: deque[bytes | memoryview] | None = None
    end_after = False
    reset_after = UNKNOWN
    trailers: Headers | None = None


class WholeStream(StreamState):
    """Of a message that was whole with its head."""

    remote_closed = True


class SenderSink(Protocol):
    def on_window(self, stream_id: int) -> None: ...
    def count(self, name: str) -> None: ...


class Sender:
    """Knows the open streams, and what may be sent on them."""

    __slots__ = (
        "_controls", "_data_frames", "_encoder", "_events", "_frame_bytes", "_frames",
        "_initial_window", "_open", "_waiting", "_window", "_write",
    )  # fmt: skip

    def __init__(self, sink: SenderSink, write: Write, layout: Layout) -> None:
        self._events = sink
        self._write = write
        self._encoder = Encoder(layout)
        self._open: dict[int, StreamState] = {}
        self._window = DEFAULT_WINDOW  # what the connection may still send
        self._initial_window = DEFAULT_WINDOW
        self._frame_bytes = MIN_FRAME_BYTES
        self._waiting: dict[int, StreamState] = {}  # with a queue, in the order of their turns
        self._frames = 0  # written since all had left
        self._controls = 0
        self._data_frames = 0

    @property
    def waiting_bytes(self) -> int:
        """What waits for windows, of all streams."""
        return sum(stream.queued for stream in self._waiting.values())

    @property
    def sending(self) -> bool:
        """There are streams whose messages wait for a window."""
        return bool(self._waiting)

    @property
    def streams(self) -> int:
        """Open streams, in both directions or one."""
        return len(self._open)

    def queued(self, stream_id: int) -> int:
        """Bytes of the stream that wait for a window."""
        stream = self._open.get(stream_id)
        return stream.queued if stream is not None else 0

    def _head(
        self, stream_id: int, stream: StreamState, block: bytes, data: bytes, end: bool
    ) -> None:
        """A head, with what there is of the body already."""
        size = len(block)
        self._frames += 1
        if not data:
            if size > self._frame_bytes:
                self._write(header_frames(stream_id, block, end, self._frame_bytes))
            else:
                self._write(
                    pack_head(size << 8 | HEADERS, WHOLE if end else END_HEADERS, stream_id) + block
                )
        elif (
            (more := len(data)) > self._window
            or more > self._initial_window
            or more > MIN_FRAME_BYTES
            or size > self._frame_bytes
        ):
            self._write(header_frames(stream_id, block, False, self._frame_bytes))
            self.send_data(stream_id, data, end)
            return
        else:
            self._window -= more
            self._data_frames += 1
            head = pack_head(size << 8 | HEADERS, END_HEADERS, stream_id)
            if not end:
                stream.credit -= more
                self._write(head + block + pack_head(more << 8, 0, stream_id) + data)
                return
            self._write(head + block + pack_head(more << 8, END_STREAM, stream_id) + data)
        if end:
            if stream.remote_closed:
                self._forget(stream_id, stream)
            else:
                stream.local_closed = True

    def send_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._open.get(stream_id)
        if stream is None or stream.local_closed or stream.end_after:
            return
        size = len(data)
        if stream.queue is None:
            if not size and not end:
                return
            if not size or (
                size <= MIN_FRAME_BYTES
                and size <= self._window
                and size <= self._initial_window + stream.credit
            ):
                self._data(stream_id, stream, data, end)
                return
        self._enqueue(stream_id, stream, data, end)

    def _data(self, stream_id: int, stream: StreamState, data: bytes, end: bool) -> None:
        size = len(data)
        self._window -= size
        self._frames += 1
        self._data_frames += 1
        self._write(pack_head(size << 8 | DATA, END_STREAM if end else 0, stream_id) + data)
        if end:
            self._close_local(stream_id, stream)
        else:
            stream.credit -= size

    def _close_local(self, stream_id: int, stream: StreamState) -> None:
        if stream.remote_closed:
            self._forget(stream_id, stream)
        else:
            stream.local_closed = True
            if stream.reset_after != UNKNOWN:
                self.reset(stream_id, stream.reset_after)

    def send_trailers(self, stream_id: int, headers: Headers) -> None:
        """Ends the message, behind all that waits."""
        stream = self._open.get(stream_id)
        if stream is None or stream.local_closed or stream.end_after:
            return
        if stream.queue is not None:
            stream.end_after = True
            stream.trailers = headers
        else:
            self._trailers(stream_id, stream, headers)

    def _trailers(self, stream_id: int, stream: StreamState, headers: Headers) -> None:
        block = self._encoder.encode_as(TRAILERS, (), headers)
        self._head(stream_id, stream, block, b"", True)

    # ------------------------------------------------------------------ what waits for a window

    def _enqueue(self, stream_id: int, stream: StreamState, data: bytes, end: bool) -> None:
        if stream.queue is None:
            stream.queue = deque()
            self._waiting[stream_id] = stream
        if data:
            stream.queue.append(data if len(data) <= MIN_FRAME_BYTES else memoryview(data))
            stream.queued += len(data)
        stream.end_after = end
        self._drain()

    def _drain(self) -> None:
        """Sends what the windows allow, a frame of each waiting stream in turn. Ends when nobody
        could send: a stream that can't is passed over."""
        stuck = 0
        while self._waiting and stuck < len(self._waiting):
            stream_id = next(iter(self._waiting))
            stream = self._waiting.pop(stream_id)
            room = min(self._window, self._initial_window + stream.credit, MIN_FRAME_BYTES)
            if room <= 0 and stream.queued:
                self._waiting[stream_id] = stream
                stuck += 1
                continue
            stuck = 0
            self._send_turn(stream_id, stream, room)

    def _send_turn(self, stream_id: int, stream: StreamState, room: int) -> None:
        queue = stream.queue
        assert queue is not None
        piece = _take(queue, room)
        stream.queued -= len(piece)
        last = not queue
        if last:
            stream.queue = None
        else:
            self._waiting[stream_id] = stream
        end = last and stream.end_after and stream.trailers is None
        if piece or end:
            self._data(stream_id, stream, piece, end)
        if not last:
            return
        if stream.trailers is not None:
            self._trailers(stream_id, stream, stream.trailers)
            if stream.reset_after != UNKNOWN:
                self.reset(stream_id, stream.reset_after)
        elif not stream.end_after:
            self._events.on_window(stream_id)

    # ------------------------------------------------------------------ ends

    def reset(self, stream_id: int, code: int) -> None:
        """RST_STREAM; what waits is dropped. Nothing more is heard of the stream."""
        stream = self._open.get(stream_id)
        if stream is not None:
            self._forget(stream_id, stream)
            self._send_reset(stream_id, code)

    def reset_behind(self, stream_id: int, code: int) -> None:
        """RST_STREAM as soon as the message that was ended has left."""
        stream = self._open.get(stream_id)
        if stream is not None and stream.queue is not None:
            stream.reset_after = code
        else:
            self.reset(stream_id, code)

    def _send_reset(self, stream_id: int, code: int) -> None:
        self._events.count("tx_reset")
        self._frames += 1
        self._controls += 1
        self._write(rst_stream(stream_id, code))

    def _forget(self, stream_id: int, stream: StreamState) -> None:
        """The stream is closed."""
        del self._open[stream_id]
        if stream.queue is not None:
            stream.queue = None
            self._waiting.pop(stream_id, None)
        if stream.held:
            self._release(stream)

    def _release(self, stream: StreamState) -> None:
        """What a paused stream held of the connection's receiving window is free again."""
        raise NotImplementedError


def _take(queue: deque[bytes | memoryview], room: int) -> bytes:
    """Up to `room` bytes off the queue, whole pieces joined."""
    if not queue:
        return b""
    first = queue.popleft()
    if len(first) >= room:
        if len(first) > room:
            queue.appendleft(first[room:])
        return bytes(first[:room])
    pieces = [first]
    room -= len(first)
    while queue and len(queue[0]) <= room:
        room -= len(queue[0])
        pieces.append(queue.popleft())
    return b"".join(pieces)
