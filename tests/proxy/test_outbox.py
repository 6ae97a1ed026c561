"""One write per connection and turn."""

from __future__ import annotations

import asyncio

from proxy.outbox import Outbox, flush
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
