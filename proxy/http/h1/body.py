"""Where a body ends: sized, chunked or until the connection closes (RFC 9112 sections 6 and 7).

A reader's state is its `feed`, the method that takes the next bytes:

    _head  -> _sized | _chunk_line | _until_close | (no body) _after
    _sized -> _after
    _chunk_line -> _chunk_data -> _chunk_end -> _chunk_line ... -> _trailers -> _after
    any -> raises Malformed; the connection is of no use any more

`_head` and `_after` belong to the request and response readers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.http.errors import Malformed
from proxy.http.h1.grammar import chunk_match, fields_match, split_fields
from proxy.http.headers import Headers

MAX_CHUNK_LINE = 4096
MAX_TRAILERS = 8192
# A trailer must not say how its own message is framed or routed (RFC 9110 section 6.5.1).
NO_TRAILERS = frozenset(
    (b"content-length", b"transfer-encoding", b"host", b"connection", b"keep-alive", b"upgrade",
     b"proxy-connection", b"te", b"trailer")
)  # fmt: skip


class BodySink(Protocol):
    def on_data(self, data: bytes) -> None: ...
    def on_end(self, trailers: Headers | None) -> None: ...


class BodyReader:
    """Passes a body on in the pieces it came in, without its chunk framing. keeps_trailers: they
    are passed on too, and else dropped."""

    __slots__ = ("_buffer", "_left", "_sink", "feed", "keeps_trailers")

    def __init__(self, sink: BodySink, keeps_trailers: bool = False) -> None:
        self._sink = sink
        self.keeps_trailers = keeps_trailers
        self._buffer = b""
        self._left = 0
        self.feed: Callable[[bytes], None] = self._head

    def over(self) -> None:
        """The connection is. Lets go of whoever listens: they hold each other, and the collector
        would have to find that out."""
        self._sink = _NOBODY
        self.feed = _deaf

    def _head(self, data: bytes) -> None:
        raise NotImplementedError

    def _after(self, data: bytes) -> None:
        raise NotImplementedError

    def _end(self, rest: bytes, trailers: Headers | None = None) -> None:
        """The message is whole; `rest` belongs to whatever follows it."""
        self.feed = self._after
        self._sink.on_end(trailers)
        if rest:
            self.feed(rest)

    def _sized(self, data: bytes) -> None:
        left = self._left = self._left - len(data)
        if left > 0:
            self._sink.on_data(data)
            return
        whole = data if left == 0 else data[:left]
        if whole:
            self._sink.on_data(whole)
        self._end(data[left:] if left else b"")

    def _until_close(self, data: bytes) -> None:
        self._sink.on_data(data)

    def _chunk_line(self, data: bytes) -> None:
        """Takes as many whole chunks as there are, and passes them on as one piece."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        pieces: list[bytes] = []
        at = 0
        while True:
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                self._buffer = self._bounded(data[at:])
                break
            found = chunk_match(data, at, line_end)
            if found is None or line_end - at > MAX_CHUNK_LINE:
                raise Malformed("http1.codec_error")
            size = int(found[1], 16)
            if size == 0:
                self.feed = self._trailers
                break
            start, stop = line_end + 2, line_end + 2 + size
            if len(data) < stop + 2:
                self._break_off(data, start, stop, pieces)
                break
            if data[stop : stop + 2] != b"\r\n":
                raise Malformed("http1.codec_error")
            pieces.append(data[start:stop])
            at = stop + 2
        if pieces:
            self._sink.on_data(b"".join(pieces) if len(pieces) > 1 else pieces[0])
        if self.feed == self._trailers:
            self._trailers(data[line_end + 2 :])

    def _break_off(self, data: bytes, start: int, stop: int, pieces: list[bytes]) -> None:
        """The data ends inside a chunk or before the CRLF behind it."""
        if len(data) > start:
            pieces.append(data[start:stop])
        if len(data) < stop:
            self._left = stop - len(data)
            self.feed = self._chunk_data
        else:
            self.feed = self._chunk_end
            self._chunk_end(data[stop:])

    def _chunk_data(self, data: bytes) -> None:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            self._sink.on_data(data)
            return
        self._sink.on_data(data[:left])
        self.feed = self._chunk_end
        if len(data) > left:
            self._chunk_end(data[left:])

    def _chunk_end(self, data: bytes) -> None:
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        if len(data) < 2:
            if data not in (b"", b"\r"):
                raise Malformed("http1.codec_error")
            self._buffer = data
            return
        if not data.startswith(b"\r\n"):
            raise Malformed("http1.codec_error")
        self.feed = self._chunk_line
        if len(data) > 2:
            self._chunk_line(data[2:])

    def _trailers(self, data: bytes) -> None:
        """Trailer fields are checked, and dropped unless told otherwise (as Envoy does)."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        if data.startswith(b"\r\n"):
            self._end(data[2:])
            return
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > MAX_TRAILERS:
                raise Malformed("http1.trailers_too_large", 431)
            self._buffer = data
            return
        if end > MAX_TRAILERS:
            raise Malformed("http1.trailers_too_large", 431)
        found = fields_match(data[: end + 4])
        if found is None:
            raise Malformed("http1.codec_error")
        trailers = trailers_of(found[1]) if self.keeps_trailers else None
        self._end(data[end + 4 :], trailers)

    def _bounded(self, line: bytes) -> bytes:
        if len(line) > MAX_CHUNK_LINE:
            raise Malformed("http1.codec_error")
        return line


def trailers_of(block: bytes) -> Headers | None:
    """The fields of a valid trailer section that may be passed on; None if there are none."""
    pairs = [
        (name, value)
        for name, value in zip(*split_fields(block), strict=True)
        if name.lower() not in NO_TRAILERS
    ]
    return Headers.of(pairs) if pairs else None


class Nobody:
    """Listens to a connection that is over."""

    def on_data(self, data: bytes) -> None: ...

    def on_end(self, trailers: Headers | None) -> None: ...


def _deaf(data: bytes) -> None:
    """Of a connection that is over."""


_NOBODY = Nobody()
