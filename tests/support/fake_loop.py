"""Time and transports that a test moves by hand: what a protocol sees of an event loop.

Nothing here waits, and no socket is opened. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, cast


class Timer:
    """Stands in for a `TimerHandle`."""

    def __init__(self, at: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.at, self.callback, self.args = at, callback, args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """`now` is monotonic seconds; it stands still until `advance`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(self.now + delay, callback, args)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Timer:
        return self.call_later(0.0, callback, *args)

    def advance(self, seconds: float = 0.0) -> None:
        """Runs everything that is due until `seconds` from now, each at its own time."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            _, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, timer.at)
            if not timer.cancelled:
                timer.callback(*timer.args)
        self.now = end

    @contextmanager
    def running(self) -> Iterator[None]:
        """It is the running loop, and `monotonic` of every module of the proxy is its time."""
        modules = [m for name, m in sys.modules.items() if name.startswith("proxy.")]
        real = time.monotonic
        patched = [m for m in modules if getattr(m, "monotonic", None) is real]
        for module in patched:
            module.monotonic = self.time  # type: ignore[attr-defined]
        asyncio._set_running_loop(cast(asyncio.AbstractEventLoop, self))
        try:
            yield
        finally:
            asyncio._set_running_loop(None)
            for module in patched:
                module.monotonic = real  # type: ignore[attr-defined]


class FakeTransport(asyncio.Transport):
    """One end of a connection; the far end is the test.

    `written` is what the far end has received. With `stuck` it takes nothing: what is written
    stays in the buffer, and the protocol is paused and resumed as asyncio does it."""

    def __init__(self, loop: FakeLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.loop, self.protocol = loop, protocol
        self.written = bytearray()
        self.buffered = bytearray()
        self.writes = 0
        self.high, self.low = 64 * 1024, 16 * 1024
        self.stuck = self.closing = self.lost = self.aborted = False
        self.reading = True
        self.wrote_eof = self._full = False
        self._incoming: list[bytes] = []
        self._eof = False

    # What the protocol calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.wrote_eof, "write after write_eof"
        if self.lost or self.aborted:
            return
        self.writes += 1
        (self.buffered if self.stuck else self.written).extend(data)
        if len(self.buffered) > self.high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast(asyncio.Protocol, protocol)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = self.high if high is None else high
        self.low = self.high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return len(self.buffered)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        if not self.reading:
            self.reading = True
            self.loop.call_soon(self._read)

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.wrote_eof = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.buffered:
                self.loop.call_soon(self.lose)

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.buffered.clear()
        self.loop.call_soon(self.lose)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    # What the far end does.

    def receive(self, data: bytes) -> None:
        self._incoming.append(data)
        self._read()

    def receive_eof(self) -> None:
        self._eof = True
        self._read()

    def release(self) -> None:
        """The far end takes what is buffered, and from now on everything."""
        self.stuck = False
        self.written += self.buffered
        self.buffered.clear()
        if self._full:
            self._full = False
            self.protocol.resume_writing()
        if self.closing:
            self.lose()

    def lose(self, error: Exception | None = None) -> None:
        if not self.lost:
            self.lost = self.closing = True
            self.protocol.connection_lost(error)

    def _read(self) -> None:
        while self._incoming and self.reading and not self.closing:
            self.protocol.data_received(self._incoming.pop(0))
        if self._eof and not self._incoming and self.reading and not self.closing:
            self._eof = False
            if not self.protocol.eof_received():
                self.close()
