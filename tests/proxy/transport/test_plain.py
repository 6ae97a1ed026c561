"""Plaintext connections over real sockets: each direction for itself, nothing lost, ends told."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from proxy.transport.plain import PlainTransport
from proxy.transport.watch import watch_of
from tests.support.wait import eventually_async

BIG = (
    bytes(range(256)) * 32768
)  # 8 MiB, more than the kernel takes, of which no two neighbours are the same
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class End(asyncio.Protocol):
    """Keeps what it hears. stays: the peer's end of its direction does not end ours. react: done
    with each piece."""

    def __init__(self, stays: bool = True, react: Callable[[End], None] | None = None) -> None:
        self.heard = bytearray()
        self.stays = stays
        self.react = react
        self.calls: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(PlainTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if self.react is not None:
            self.react(self)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.fixture
def peers() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connected pairs: what becomes the transport's, and who speaks with it, who may block."""
    with ExitStack() as stack:
        pairs = []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            for _ in range(2):
                there = stack.enter_context(socket.create_connection(listening.getsockname()))
                there.settimeout(30)
                here = stack.enter_context(listening.accept()[0])
                here.setblocking(False)
                pairs.append((here, there))
        yield pairs


Peers = list[tuple[socket.socket, socket.socket]]


def begun(sock: socket.socket, end: End) -> PlainTransport:
    loop = asyncio.get_running_loop()
    transport = PlainTransport(loop, watch_of(loop), sock)
    transport.begin(end)
    return transport


def read_all(sock: socket.socket) -> bytes:
    """Until the end."""
    found = bytearray()
    while piece := sock.recv(65536):
        found += piece
    return bytes(found)


async def lost(end: End) -> Exception | None:
    return await asyncio.wait_for(end.lost, 30)


async def test_each_direction_ends_by_itself(peers: Peers) -> None:
    here, there = peers[0]
    end = End()
    transport = begun(here, end)
    there.sendall(b"question")
    there.shutdown(socket.SHUT_WR)
    await eventually_async(lambda: "eof" in end.calls, 30.0, "the end was heard")
    assert end.heard == b"question" and not end.lost.done()
    transport.write(b"answer")
    transport.write_eof()
    transport.write(b"nothing any more")
    assert await asyncio.to_thread(read_all, there) == b"answer"
    assert not end.lost.done()
    transport.close()
    assert await lost(end) is None
    assert transport.get_extra_info("peername", "gone") == "gone"


async def test_whose_peer_ends_is_closed_unless_he_stays(peers: Peers) -> None:
    here, there = peers[0]
    end = End(stays=False)
    transport = begun(here, end)
    assert transport.get_extra_info("peername") == there.getsockname()
    assert transport.get_extra_info("sockname") == there.getpeername()
    there.shutdown(socket.SHUT_WR)
    assert await lost(end) is None
    assert transport.is_closing()
    assert await asyncio.to_thread(read_all, there) == b""


async def test_much_in_both_directions_at_once_and_a_close_behind_it(peers: Peers) -> None:
    here, there = peers[0]
    end = End()
    transport = begun(here, end)
    transport.write(BIG)
    transport.write(b"and the rest")
    assert end.calls == ["pause"] and transport.get_write_buffer_size() > 0
    speaking = asyncio.to_thread(there.sendall, BIG)
    heard = asyncio.to_thread(read_all, there)
    both = asyncio.gather(speaking, heard)
    await eventually_async(lambda: len(end.heard) == len(BIG), 60.0, "all was heard")
    assert end.heard == BIG
    transport.close()
    assert (await both)[1] == BIG + b"and the rest"
    assert await lost(end) is None
    assert end.calls == ["pause", "resume"]


async def test_nothing_comes_while_reading_is_paused(peers: Peers) -> None:
    here, there = peers[0]
    end = End(react=lambda end: end.transport.pause_reading())
    transport = begun(here, end)
    there.sendall(BIG[:100])
    await eventually_async(lambda: bool(end.heard), 30.0, "the first was heard")
    there.sendall(BIG[100:200])
    there.shutdown(socket.SHUT_WR)
    for _ in range(20):
        await asyncio.sleep(0)
    assert end.heard == BIG[:100] and not transport.is_reading()
    transport.resume_reading()
    await eventually_async(lambda: len(end.heard) == 200, 30.0, "the rest was heard")
    assert "eof" not in end.calls
    transport.resume_reading()
    await eventually_async(lambda: "eof" in end.calls, 30.0, "the end was heard")
    transport.abort()


async def test_who_breaks_off_says_nothing_of_what_waits(peers: Peers) -> None:
    here, there = peers[0]
    end = End()
    transport = begun(here, end)
    transport.write(BIG)
    transport.abort()
    transport.write(b"nothing any more")
    assert not end.lost.done()  # who breaks off is not called within
    assert await lost(end) is None
    assert len(await asyncio.to_thread(read_all, there)) < len(BIG)


async def test_a_reset_is_told(peers: Peers) -> None:
    here, there = peers[0]
    end = End()
    begun(here, end)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    there.close()
    assert isinstance(await lost(end), ConnectionResetError)


async def test_a_failed_write_ends_the_connection_later(peers: Peers) -> None:
    here, there = peers[0]
    end = End()
    transport = begun(here, end)
    transport.pause_reading()
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    there.close()
    await asyncio.to_thread(_was_reset, here)
    transport.write(b"x")
    assert not end.lost.done()
    transport.pause_reading()
    assert isinstance(await lost(end), ConnectionError)


def _was_reset(sock: socket.socket) -> None:
    while True:
        try:
            if sock.send(b""):
                raise AssertionError
        except OSError:
            return
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x07":  # closed
            return


async def test_who_fails_at_what_he_hears_has_no_connection_left(peers: Peers) -> None:
    here, there = peers[0]
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, it: failures.append(it["exception"]))

    def fail(end: End) -> None:
        raise LookupError

    end = End(react=fail)
    begun(here, end)
    there.sendall(b"x")
    assert isinstance(await lost(end), LookupError)
    assert [type(one) for one in failures] == [LookupError]


async def test_who_fails_as_he_is_connected_has_no_connection_left(peers: Peers) -> None:
    here, there = peers[0]

    class Failing(End):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise LookupError

    end = Failing()
    with pytest.raises(LookupError):
        begun(here, end)
    assert await lost(end) is None
    assert await asyncio.to_thread(read_all, there) == b""


async def test_who_fails_at_the_end_is_told_of_it_once(peers: Peers) -> None:
    """Nor would the loop ever rest."""
    here, there = peers[0]
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, it: failures.append(it["exception"]))

    class Failing(End):
        def eof_received(self) -> bool:
            raise LookupError

    end = Failing()
    begun(here, end)
    there.shutdown(socket.SHUT_WR)
    assert isinstance(await lost(end), LookupError)
    assert len(failures) == 1
    assert await asyncio.to_thread(read_all, there) == b""


async def test_answers_of_one_turn_go_out_when_all_were_heard(peers: Peers) -> None:
    waited: list[int] = []

    def answer(end: End) -> None:
        end.transport.write(b"answer")
        waited.append(end.transport.get_write_buffer_size())
        end.transport.close()

    ends = [End(react=answer) for _ in peers]
    for (here, there), end in zip(peers, ends, strict=True):
        there.sendall(b"question")
        begun(here, end)
    for end in ends:
        assert await lost(end) is None
    assert waited == [6, 6]
    assert [await asyncio.to_thread(read_all, there) for _, there in peers] == [b"answer"] * 2
