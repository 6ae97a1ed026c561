"""Who is called for a socket: the one that asked last, as long as he asks, whoever fails beside."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from functools import partial

import pytest

from proxy.transport.watch import (
    ALONE_AFTER_TURNS,
    ALONE_AT_MOST_TURNS,
    Watch,
    watch_of,
)

TURNS = 20


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
async def watch() -> Watch:
    return watch_of(asyncio.get_running_loop())


async def turns() -> None:
    """What is ready by now has been told of."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_a_loop_has_one(watch: Watch) -> None:
    assert watch_of(asyncio.get_running_loop()) is watch


async def test_the_last_one_who_asked_is_told_until_he_leaves(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    told: list[str] = []
    watch.add_reader(here.fileno(), lambda: told.append("first"))
    watch.add_reader(here.fileno(), lambda: told.append("second"))
    there.send(b"x")
    await turns()
    assert set(told) == {"second"}
    assert watch.remove_reader(here.fileno())
    assert not watch.remove_reader(here.fileno())
    told.clear()
    await turns()
    assert told == []


async def test_each_direction_is_for_itself(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    told: list[str] = []
    fd = here.fileno()
    watch.add_writer(fd, lambda: told.append("room"))
    watch.add_reader(fd, lambda: told.append("data"))
    await turns()
    assert set(told) == {"room"}
    there.send(b"x")
    await turns()
    assert set(told) == {"room", "data"}
    assert watch.remove_writer(fd)
    told.clear()
    await turns()
    assert set(told) == {"data"}
    watch.remove_reader(fd)
    watch.add_reader(fd, lambda: told.append("again"))
    watch.add_writer(fd, lambda: told.append("room"))
    assert watch.remove_reader(fd)
    told.clear()
    await turns()
    assert set(told) == {"room"}
    assert watch.remove_writer(fd)


async def test_who_fails_keeps_nobody_from_his_turn(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, it: failures.append(it["exception"]))
    told: list[str] = []

    def fail() -> None:
        watch.remove_reader(here.fileno())
        raise LookupError

    watch.add_reader(here.fileno(), fail)
    watch.add_reader(there.fileno(), lambda: told.append("data"))
    here.send(b"x")
    there.send(b"x")
    await turns()
    assert told
    assert [type(one) for one in failures] == [LookupError]
    watch.remove_reader(there.fileno())


async def test_who_leaves_within_a_turn_is_not_called_in_it(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    told: list[int] = []
    fds = [end.fileno() for end in pair]

    def first_come() -> None:
        told.append(1)
        for fd in fds:
            watch.remove_reader(fd)

    for end, fd in zip(pair, fds, strict=True):
        end.send(b"x")
        watch.add_reader(fd, first_come)
    await turns()
    assert told == [1]


async def test_a_reset_is_told_to_the_reader_and_to_nobody_who_has_left(watch: Watch) -> None:
    """Nor would the loop ever rest."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()
    told: list[str] = []
    watch.add_reader(here.fileno(), lambda: told.append("first"))
    watch.remove_reader(here.fileno())
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    there.close()
    await turns()
    assert told == []
    heard = asyncio.Event()
    watch.add_reader(here.fileno(), heard.set)
    await asyncio.wait_for(heard.wait(), 30)
    watch.remove_reader(here.fileno())
    with pytest.raises(ConnectionResetError):
        here.recv(1)
    here.close()


async def test_where_several_are_ready_it_waits_who_has_little_to_say(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    said: list[str] = []

    def serve(end: socket.socket) -> None:
        end.recv(1)
        said.append("heard")
        if watch.gathers:
            watch.late.append(lambda: said.append("said"))

    for end in pair:
        watch.add_reader(end.fileno(), partial(serve, end))
    pair[0].send(b"x")
    await turns()
    assert said == ["heard"]  # one alone has nobody to wait for
    said.clear()
    for end in pair:
        end.send(b"x")
    await turns()
    assert said == ["heard", "heard", "said", "said"]
    assert not watch.gathers
    for end in pair:
        watch.remove_reader(end.fileno())
    watch.late.append(lambda: said.append("before"))
    watch.let_go()
    watch.let_go()
    assert said[4:] == ["before"]


async def test_a_descriptor_that_is_closed_need_not_be_taken_out(watch: Watch) -> None:
    """The kernel has, and whoever comes next has its number."""
    told: list[str] = []
    for word in ("first", "second"):
        here, there = socket.socketpair()
        with there:
            watch.add_reader(here.fileno(), partial(told.append, word))
            watch.add_writer(here.fileno(), partial(told.append, word))
            await turns()
            watch.forget(here.fileno())
            here.close()
            count = len(told)
            await turns()
            assert len(told) == count and set(told[-1:]) == {word}


class Asked:
    """Counts how often a watch asks who is ready."""

    def __init__(self, watch: Watch) -> None:
        self.times = 0
        self._poll = watch._poll
        watch._poll = self

    def __call__(self, *args: int) -> object:
        self.times += 1
        return self._poll(*args)


async def test_who_is_always_alone_is_called_without_asking_but_keeps_nobody_out(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    asked = Asked(watch)
    told: list[str] = []
    watch.add_reader(here.fileno(), lambda: told.append("always"))
    there.send(b"x")
    await turns()
    always = len(told)
    assert always > ALONE_AFTER_TURNS and asked.times < always / 2
    watch.add_reader(there.fileno(), lambda: told.append("beside"))
    here.send(b"x")
    told.clear()
    await turns()
    assert "beside" in told
    assert told.index("beside") <= ALONE_AT_MOST_TURNS + 1
    for end in pair:
        watch.remove_reader(end.fileno())


async def test_whoever_was_alone_and_has_missed_is_asked_for_again(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    heard: list[bytes] = []

    def read() -> None:
        try:
            heard.append(here.recv(1))
        except BlockingIOError:
            watch.missed = True

    watch.add_reader(here.fileno(), read)
    for _ in range(ALONE_AFTER_TURNS + 1):
        there.send(b"x")
        await turns()
    asked = Asked(watch)
    other: list[str] = []

    def beside() -> None:
        there.recv(1)
        other.append("beside")

    watch.add_reader(there.fileno(), beside)
    here.send(b"x")
    await turns()
    assert other == ["beside"] and asked.times
    there.send(b"x")
    await turns()
    assert heard == [b"x"] * (ALONE_AFTER_TURNS + 2)
    for end in pair:
        watch.remove_reader(end.fileno())


async def test_what_is_due_soon_is_done_behind_the_turn_or_in_the_next(
    watch: Watch, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    done: list[str] = []

    def due() -> None:
        done.append("soon")
        watch.soon(lambda: done.append("then"))

    def serve() -> None:
        here.recv(1)
        watch.soon(due)
        done.append("served")

    watch.add_reader(here.fileno(), serve)
    there.send(b"x")
    await turns()
    watch.soon(lambda: done.append("outside"))
    assert done == ["served", "soon", "then"]
    await turns()
    assert done[3:] == ["outside"]
    watch.remove_reader(here.fileno())
