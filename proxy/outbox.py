"""One write per connection and turn of the event loop.

A second small write costs a system call, which is the dearest thing on the way of a request. So
connections only note what they have to say; whoever came in from the loop (bytes, a timer, a
finished connect) ends with `flush()`, and each connection that spoke is written to once. Only what
is whole as it is (a request without a body, an answer that came in one piece) is written at once.
"""

from __future__ import annotations

from typing import Any, Protocol


class Pipe(Protocol):
    """What a connection needs of its transport (asyncio.Transport has it)."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def can_write_eof(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def get_extra_info(self, name: str) -> Any: ...


class Outbox:
    """The sending half of a connection. `transport` is None before and after its life.

    What is to be said is one bytes object: it mostly is one piece, and a few are soon joined."""

    __slots__ = ("_out", "transport")

    def __init__(self) -> None:
        self._out = b""
        self.transport: Pipe | None = None

    def send(self, data: bytes) -> None:
        if self._out:
            self._out += data
        else:
            self._out = data
            _speaking.append(self)

    def send_whole(self, data: bytes) -> None:
        """Says a whole message: with nothing waiting before it, it need not wait either."""
        if self._out:
            self._out += data
        elif self.transport is not None:
            self.transport.write(data)

    def write_out(self) -> None:
        """Hands what was said to the transport; to nobody if the connection is gone."""
        data = self._out
        self._out = b""
        if data and self.transport is not None:
            self.transport.write(data)


class FrameOutbox(Outbox):
    """The same for a connection that says much in small pieces: streams of HTTP/2.

    The last piece of a body waits in `hold` until the turn ends or it is known whether it was the
    last one: so the end needs no frame of its own."""

    __slots__ = ("_held", "_held_for", "_pieces")

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._held = b""
        self._held_for = 0

    def send(self, data: bytes) -> None:
        if not self._pieces:
            _speaking.append(self)
        self._pieces.append(data)

    def hold(self, stream_id: int, data: bytes) -> None:
        """`data` of a body, not empty."""
        if self._held_for:
            self.let_go()
        if not self._pieces:
            _speaking.append(self)
        self._held_for = stream_id
        self._held = data

    def let_go(self, end: bool = False) -> None:
        """What was held goes to `send_held`. end: it was the last."""
        stream_id, data = self._held_for, self._held
        self._held_for, self._held = 0, b""
        self.send_held(stream_id, data, end)

    def send_held(self, stream_id: int, data: bytes, end: bool) -> None:
        raise NotImplementedError

    @property
    def waiting_bytes(self) -> int:
        """What was said and not yet handed to the transport, and what that has not sent."""
        unsent = self.transport.get_write_buffer_size() if self.transport is not None else 0
        return unsent + sum(map(len, self._pieces))

    def write_out(self) -> None:
        if self._held_for:
            self.let_go()
        pieces = self._pieces
        if not pieces:
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self.transport is not None:
            self.transport.write(data)


_speaking: list[Outbox] = []


def flush() -> None:
    """Every entry from the loop ends here."""
    while _speaking:
        _speaking.pop().write_out()
