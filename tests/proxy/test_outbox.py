"""One write per connection and turn."""

from __future__ import annotations

import asyncio

from proxy.outbox import FrameOutbox, Outbox, flush
from tests.support.fake_loop import FakeLoop, FakeTransport


def connection() -> tuple[Outbox, FakeTransport]:
    one = Outbox()
    one.transport = transport = FakeTransport(FakeLoop(), asyncio.Protocol())
    return one, transport


def test_what_was_said_leaves_at_once_and_together() -> None:
    (one, first), (other, second) = connection(), connection()
    one.send(b"a")
    other.send(b"x")
    one.send(b"b")
    assert not first.written
    flush()
    assert (bytes(first.written), first.writes) == (b"ab", 1)
    assert (bytes(second.written), second.writes) == (b"x", 1)
    flush()
    assert first.writes == second.writes == 1


def test_writing_out_early() -> None:
    one, transport = connection()
    one.send(b"a")
    one.write_out()
    one.send(b"b")
    flush()
    assert (bytes(transport.written), transport.writes) == (b"ab", 2)


def test_a_connection_that_is_gone() -> None:
    one, transport = connection()
    one.send(b"a")
    one.transport = None
    flush()
    assert not transport.written
    one.transport = transport  # what was said to nobody is not said to somebody
    flush()
    assert not transport.written


def test_saying_more_while_flushing() -> None:
    """A full buffer pauses others, who may speak: it all leaves in the same turn."""
    other, second = connection()

    class Answering(asyncio.Protocol):
        def pause_writing(self) -> None:
            other.send(b"y")

    one = Outbox()
    one.transport = first = FakeTransport(FakeLoop(), Answering())
    first.stuck, first.high = True, 1
    one.send(b"abc")
    flush()
    assert bytes(second.written) == b"y"


class Framed(FrameOutbox):
    """Frames are text here: `1:data.` is the last piece of stream 1."""

    def send_held(self, stream_id: int, data: bytes, end: bool) -> None:
        self.send(b"%d:%b%b" % (stream_id, data, b"." if end else b" "))


def framed() -> tuple[Framed, FakeTransport]:
    one = Framed()
    one.transport = transport = FakeTransport(FakeLoop(), asyncio.Protocol())
    return one, transport


class TestFrames:
    def test_pieces_leave_in_one_write(self) -> None:
        one, transport = framed()
        one.send(b"a ")
        one.send(b"b ")
        assert not transport.written
        flush()
        assert (bytes(transport.written), transport.writes) == (b"a b ", 1)

    def test_the_last_piece_waits_for_its_end(self) -> None:
        one, transport = framed()
        one.hold(1, b"x")
        one.let_go(end=True)
        flush()
        assert transport.written == b"1:x."

    def test_or_for_the_end_of_the_turn(self) -> None:
        one, transport = framed()
        one.hold(1, b"x")
        flush()
        flush()
        assert transport.written == b"1:x "

    def test_or_for_another(self) -> None:
        one, transport = framed()
        one.hold(1, b"x")
        one.hold(3, b"y")
        one.let_go(end=True)
        flush()
        assert transport.written == b"1:x 3:y."

    def test_what_waits_is_known(self) -> None:
        one, transport = framed()
        one.send(b"abc")
        one.send(b"de")
        assert one.waiting_bytes == 5
        transport.stuck = True
        flush()
        assert one.waiting_bytes == 5
