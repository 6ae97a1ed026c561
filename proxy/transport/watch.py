"""Who is called when a socket has something to read, or room: one epoll set of our own, of which
the loop knows a single descriptor.

The loop's own readers are made for few connections that last: libuv tries each descriptor out and
takes it out of its set more often than it was put in (eight system calls for a connection), and it
tells of a reset only once. Here a connection costs one call when it comes, what is ready is fetched
for all of them at once, and what is not dealt with is told again. Where several are ready, what
they have to say can wait until all were heard (`late`): a write wakes its reader, and while he is
awake the next ones cost half.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

AT_ONCE: Final = 16  # then what was said goes out, and the loop's others have their turn
# Who was the only one that was ready in so many turns is called without asking who is, so often.
ALONE_AFTER_TURNS: Final = 3
ALONE_AT_MOST_TURNS: Final = 8
_IN: Final[int] = select.EPOLLIN
_OUT: Final[int] = select.EPOLLOUT

Act = Callable[[], None]


class Watch:
    """Of one loop. Whoever closes a descriptor takes out what he has put in before.

    gathers: whoever has little to say may add himself to `late` and be called soon. missed: who is
    called to read sets it when there was nothing."""

    __slots__ = (
        "__weakref__",
        "_alone",
        "_alone_turns",
        "_epoll",
        "_loop",
        "_poll",
        "_readers",
        "_soon",
        "_turns",
        "_writers",
        "gathers",
        "late",
        "missed",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: Any = select.epoll()
        self._poll: Any = self._epoll.poll
        self.gathers = False
        self.late: list[Act] = []
        self._turns = False
        self.missed = False
        self._alone = -1
        self._alone_turns = 0
        self._soon: list[Act] = []
        self._readers: dict[int, Act] = {}
        self._writers: dict[int, Act] = {}
        loop.add_reader(self._epoll.fileno(), self._turn)

    def add_reader(self, fd: int, act: Act) -> None:
        """In place of the one that is there, if there is one. It hears of errors, too."""
        if fd not in self._readers:
            self._ask(fd, fd in self._writers, _IN, _OUT)
        self._readers[fd] = act

    def add_writer(self, fd: int, act: Act) -> None:
        if fd not in self._writers:
            self._ask(fd, fd in self._readers, _OUT, _IN)
        self._writers[fd] = act

    def remove_reader(self, fd: int) -> bool:
        """Whether there was one."""
        if self._readers.pop(fd, None) is None:
            return False
        self._leave(fd, fd in self._writers, _OUT)
        return True

    def remove_writer(self, fd: int) -> bool:
        if self._writers.pop(fd, None) is None:
            return False
        self._leave(fd, fd in self._readers, _IN)
        return True

    def forget(self, fd: int) -> None:
        """Of one that is closed in this turn, of which the kernel takes it out itself."""
        self._readers.pop(fd, None)
        self._writers.pop(fd, None)

    def _ask(self, fd: int, known: bool, events: int, before: int) -> None:
        if known:
            self._epoll.modify(fd, events | before)
        else:
            self._epoll.register(fd, events)

    def _leave(self, fd: int, stays: bool, events: int) -> None:
        if stays:
            self._epoll.modify(fd, events)
        else:  # the kernel would tell of its errors otherwise, and nobody would hear
            self._epoll.unregister(fd)

    def _turn(self) -> None:
        self._turns = True
        if self._alone_turns < ALONE_AFTER_TURNS or not self._hear_the_same():
            self._hear_the_ready()
        while self._soon:
            soon, self._soon = self._soon, []
            for act in soon:
                _call(act)
        self._turns = False

    def _hear_the_same(self) -> bool:
        """Whether it was he who is ready; others may be so, too, and have their turn soon."""
        self._alone_turns += 1
        if self._alone_turns >= ALONE_AFTER_TURNS + ALONE_AT_MOST_TURNS:
            self._alone_turns = ALONE_AFTER_TURNS - 1
        reader = self._readers.get(self._alone)
        self.missed = reader is None
        if reader is not None:
            _call(reader)
        if self.missed:
            self._alone_turns = 0
        return not self.missed

    def _hear_the_ready(self) -> None:
        """A descriptor may be another connection's by now: who is called for nothing finds nothing
        to read."""
        ready: list[tuple[int, int]] = self._poll(0, AT_ONCE)
        count = len(ready)
        self.gathers = count > 1
        for fd, events in ready:
            if events != _OUT:
                reader = self._readers.get(fd)
                if reader is not None:
                    _call(reader)
            if events != _IN:
                writer = self._writers.get(fd)
                if writer is not None:
                    _call(writer)
        self.gathers = False
        if count == 1:
            self._note_alone(ready[0])
        else:
            self._alone_turns = 0
        if self.late:
            self.let_go()

    def _note_alone(self, ready: tuple[int, int]) -> None:
        fd, events = ready
        if fd == self._alone and events == _IN:
            self._alone_turns += 1
        else:
            self._alone, self._alone_turns = fd, 0

    def soon(self, act: Act) -> None:
        """When who speaks now has ended: behind the turn that goes on, else in the loop's next."""
        if self._turns:
            self._soon.append(act)
        else:
            self._loop.call_soon(act)

    def let_go(self) -> None:
        """Those who wait: before something that takes long, and at the end of a turn."""
        late, self.late = self.late, []
        for act in late:
            _call(act)


def _call(act: Act) -> None:
    """Who fails keeps nobody else from his turn."""
    try:
        act()
    except Exception as error:
        what = {"message": f"Exception in {act!r}", "exception": error}
        asyncio.get_running_loop().call_exception_handler(what)


def watch_of(loop: asyncio.AbstractEventLoop) -> Watch:
    """A process mostly has one loop, and each connection asks."""
    global _last
    if _last is not None and _last[0] is loop:
        return _last[1]
    found = _watches.get(loop)
    if found is None:
        found = _watches[loop] = Watch(loop)
    _last = (loop, found)
    return found


_last: tuple[asyncio.AbstractEventLoop, Watch] | None = None
_watches: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Watch]] = WeakKeyDictionary()
