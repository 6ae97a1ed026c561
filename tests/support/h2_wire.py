"""One end of an HTTP/2 connection for tests, client or server: hyperframe and hpack, nothing of
`proxy.http` and no state machine, so that it can also say what it must not and read on afterwards.

It keeps flow control (RFC 9113, 5.2), acknowledges settings and pings, and notes all it saw.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hpack import Decoder, Encoder, HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.http1 import Headers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ERRORS = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
SETTINGS = {
    "HEADER_TABLE_SIZE": 1,
    "ENABLE_PUSH": 2,
    "MAX_CONCURRENT_STREAMS": 3,
    "INITIAL_WINDOW_SIZE": 4,
    "MAX_FRAME_SIZE": 5,
    "MAX_HEADER_LIST_SIZE": 6,
    "ENABLE_CONNECT_PROTOCOL": 8,
}
READ_BYTES = 1 << 16
DEFAULT_WINDOW = 65535


def error_name(code: int) -> str:
    return ERRORS[code] if code < len(ERRORS) else str(code)


@dataclass(slots=True)
class StreamSeen:
    """What came on one stream. `blocks` are header blocks in order, 1xx and trailers too; `reset`
    the name of the error that ended it."""

    blocks: list[Headers] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Headers = field(default_factory=list)
    ended: bool = False
    reset: str = ""
    send_window: int = DEFAULT_WINDOW

    @property
    def over(self) -> bool:
        return self.ended or bool(self.reset)

    @property
    def head(self) -> Headers | None:
        """The final header block; None while only 1xx came."""
        for block in self.blocks:
            if not dict(block).get(":status", "200").startswith("1"):
                return block
        return None


class H2Wire:
    """`run()` reads until the connection ends; `changed` is notified after each frame.

    `window` is what is granted to the peer on each stream; with `grant` off no WINDOW_UPDATE is
    ever sent: a reader that stalls. `on_stream` hears of each new stream of the peer.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_stream: Callable[[int], None] | None = None,
        *,
        grant: bool = True,
    ) -> None:
        self.reader, self.writer = reader, writer
        self.streams: dict[int, StreamSeen] = {}
        self.settings: dict[int, int] = {}
        self.goaways: list[str] = []
        self.pongs: list[bytes] = []
        self.closed = ""  # "fin" or "reset" at the end
        self.window = DEFAULT_WINDOW
        self.encoder = Encoder()
        self.changed = asyncio.Event()
        self.acknowledge = True
        self._decoder = Decoder()
        self._decoder.max_header_list_size = 1 << 24
        self._on_stream = on_stream
        self._grant = grant
        self._block: tuple[int, bytearray, bool] | None = None
        self._initial_window = DEFAULT_WINDOW

    # ----------------------------------------------------------------------- to say

    def send(self, *frames: Frame) -> None:
        self.send_bytes(b"".join(frame.serialize() for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        if not self.closed:
            self.writer.write(data)

    def send_settings(self, settings: Mapping[str, int]) -> None:
        values = {SETTINGS[name]: value for name, value in settings.items()}
        self.send(SettingsFrame(0, values))

    def send_headers(self, stream: int, headers: Headers, *, end: bool = False) -> None:
        """As they are, in frames of at most 16,384 bytes."""
        self.seen(stream)
        block = self.encoder.encode(headers, huffman=True)
        pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)] or [b""]
        first = HeadersFrame(stream, pieces[0], flags=["END_STREAM"] if end else [])
        rest = [ContinuationFrame(stream, piece) for piece in pieces[1:]]
        last: HeadersFrame | ContinuationFrame = rest[-1] if rest else first
        last.flags.add("END_HEADERS")
        self.send(first, *rest)

    async def send_data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Waits for the peer's windows; gives up when the stream or the connection is over."""
        seen = self.seen(stream)
        while data:
            room = await self._room(seen, len(data))
            if not room:
                return
            piece, data = data[:room], data[room:]
            self.window -= len(piece)
            seen.send_window -= len(piece)
            self.send(DataFrame(stream, piece, flags=["END_STREAM"] if end and not data else []))
            await self._drain()

    async def end(self, stream: int, trailers: Headers) -> None:
        if trailers:
            self.send_headers(stream, trailers, end=True)
        else:
            self.send(DataFrame(stream, b"", flags=["END_STREAM"]))
        await self._drain()

    def reset(self, stream: int, code: str = "CANCEL") -> None:
        self.send(RstStreamFrame(stream, error_code=ERRORS.index(code)))

    def goaway(self, code: str = "NO_ERROR", last: int = 0) -> None:
        self.send(GoAwayFrame(0, last_stream_id=last, error_code=ERRORS.index(code)))

    # ----------------------------------------------------------------------- to hear

    def seen(self, stream: int) -> StreamSeen:
        if stream not in self.streams:
            self.streams[stream] = StreamSeen(send_window=self._initial_window)
        return self.streams[stream]

    async def until(self, condition: Callable[[], object]) -> bool:
        """True when it holds, False when the connection ended first."""
        while not condition():
            if self.closed:
                return False
            self.changed.clear()
            await self.changed.wait()
        return True

    async def run(self) -> None:
        """Reads until the end; what can't be read ends it as a reset would."""
        buffer = bytearray()
        try:
            while data := await self.reader.read(READ_BYTES):
                buffer += data
                self._read(buffer)
                self.changed.set()
                await self._drain()
            self.closed = "fin"
        except (OSError, ssl.SSLError):
            self.closed = "reset"
        except (HyperframeError, HPACKError) as error:
            self.closed = f"unreadable: {error!r}"
        finally:
            self.closed = self.closed or "fin"
            self.changed.set()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass  # the peer was faster

    # ----------------------------------------------------------------------- inside

    def _read(self, buffer: bytearray) -> None:
        while len(buffer) >= 9:
            length = int.from_bytes(buffer[:3], "big")
            if len(buffer) < 9 + length:
                return
            frame, _ = Frame.parse_frame_header(memoryview(bytes(buffer[:9])))
            frame.parse_body(memoryview(bytes(buffer[9 : 9 + length])))
            del buffer[: 9 + length]
            self._take(frame, length)

    def _take(self, frame: Frame, length: int) -> None:
        if isinstance(frame, DataFrame):
            seen = self.seen(frame.stream_id)
            seen.body += frame.data
            self._granted(frame.stream_id, length)
            seen.ended |= "END_STREAM" in frame.flags
        elif isinstance(frame, HeadersFrame):
            block = bytearray(frame.data)
            self._block = (frame.stream_id, block, "END_STREAM" in frame.flags)
            self._end_block("END_HEADERS" in frame.flags)
        elif isinstance(frame, ContinuationFrame) and self._block:
            self._block[1].extend(frame.data)
            self._end_block("END_HEADERS" in frame.flags)
        elif isinstance(frame, SettingsFrame):
            self._settings(frame)
        else:
            self._control(frame)

    def _control(self, frame: Frame) -> None:
        if isinstance(frame, WindowUpdateFrame):
            if frame.stream_id:
                self.seen(frame.stream_id).send_window += frame.window_increment
            else:
                self.window += frame.window_increment
        elif isinstance(frame, RstStreamFrame):
            self._reset(self.seen(frame.stream_id), error_name(frame.error_code))
        elif isinstance(frame, GoAwayFrame):
            self.goaways.append(error_name(frame.error_code))
        elif isinstance(frame, PingFrame):
            if "ACK" in frame.flags:
                self.pongs.append(frame.opaque_data)
            elif self.acknowledge:
                self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))

    def _reset(self, seen: StreamSeen, name: str) -> None:
        """NO_ERROR after a whole answer only says that the request's rest is not wanted (RFC 9113,
        8.1): whether it comes depends on what had been read."""
        if not (seen.ended and name == "NO_ERROR"):
            seen.reset = name

    def _settings(self, frame: SettingsFrame) -> None:
        if "ACK" in frame.flags:
            return
        self.settings.update(frame.settings)
        if SETTINGS["INITIAL_WINDOW_SIZE"] in frame.settings:
            size = frame.settings[SETTINGS["INITIAL_WINDOW_SIZE"]]
            for seen in self.streams.values():
                seen.send_window += size - self._initial_window
            self._initial_window = size
        if self.acknowledge:
            self.send(SettingsFrame(0, flags=["ACK"]))

    def _end_block(self, whole: bool) -> None:
        if not whole or self._block is None:
            return
        stream, block, end = self._block
        self._block = None
        headers = [(_text(name), _text(value)) for name, value, *_ in self._decoded(block)]
        new = stream not in self.streams
        seen = self.seen(stream)
        if seen.head is not None:
            seen.trailers = headers
        else:
            seen.blocks.append(headers)
        seen.ended |= end
        if new and self._on_stream:
            self._on_stream(stream)

    def _decoded(self, block: bytearray) -> list[tuple[bytes, bytes]]:
        return [(field[0], field[1]) for field in self._decoder.decode(bytes(block), raw=True)]

    def _granted(self, stream: int, length: int) -> None:
        if self._grant and length:
            self.send(
                WindowUpdateFrame(0, window_increment=length),
                WindowUpdateFrame(stream, window_increment=length),
            )

    async def _room(self, seen: StreamSeen, wanted: int) -> int:
        """How many bytes may go now; 0 when nobody wants them any more."""
        await self.until(lambda: seen.reset or min(self.window, seen.send_window) > 0)
        if seen.reset or self.closed:
            return 0
        return min(self.window, seen.send_window, wanted, 16384)

    async def _drain(self) -> None:
        try:
            await self.writer.drain()
        except OSError:
            pass  # the reader says it


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("latin-1")
