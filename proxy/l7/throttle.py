"""Lets the body of an answer go no faster than so many bytes a second (Envoy's StreamRateLimiter).

Bytes go in sixteen portions a second; what has not gone yet is kept, and the upstream is not read
while too much of it waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.l7.deadlines import NEVER
from proxy.outbox import flush

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

PORTIONS_PER_S = 16
MAX_KEPT_BYTES = 1024 * 1024


class Throttle:
    """The way out of one stream's body. _over: no more comes; then the end goes with the rest."""

    __slots__ = ("_kept", "_over", "_paused", "_portion", "_stream", "_timer", "_trailers")

    def __init__(self, stream: Stream, bytes_per_s: int) -> None:
        self._stream = stream
        self._portion = max(1, bytes_per_s // PORTIONS_PER_S)
        self._kept = bytearray()
        self._over = self._paused = False
        self._trailers: Headers | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, response: Response, data: bytes, end: bool) -> None:
        """The head goes at once; `data` of the body as it may."""
        stream = self._stream
        stream.down.send_response(stream, response, b"", False)
        if end:
            self.end(None)
        self.send(data)

    def send(self, data: bytes) -> None:
        self._kept += data
        if self._timer is None:
            self._next()
        if len(self._kept) > MAX_KEPT_BYTES:  # paused or not: others may have let it read on
            self._paused = True
            self._stream.on_downstream_full(True)

    def end(self, trailers: Headers | None) -> bool:
        """True: the end waits for what is kept. That is not the upstream's time any more."""
        self._over = True
        self._stream.deadline = NEVER
        self._trailers = trailers
        return bool(self._kept)

    def _next(self) -> None:
        stream = self._stream
        self._timer = None
        if stream.ended:
            return
        data = bytes(self._kept[: self._portion])
        del self._kept[: self._portion]
        stream.bytes_sent += len(data)
        stream.down.send_data(stream, data)
        if self._paused and len(self._kept) < MAX_KEPT_BYTES // 2:
            self._paused = False
            if not stream.down.is_full(stream):
                stream.on_downstream_full(False)
        if self._kept or not self._over:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(1 / PORTIONS_PER_S, self._later)
        else:
            stream.down.end_response(stream, self._trailers)
            stream.finish()

    def _later(self) -> None:
        if self._kept or self._over:
            self._next()
            flush()
        else:
            self._timer = None
