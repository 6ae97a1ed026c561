"""Who is called when a socket of TLS has something to read, or room: one epoll set of our own, of
which the loop knows a single descriptor.

The loop's own readers are made for few connections that last: libuv tries each descriptor out and
takes it out of its set more often than it was put in (eight system calls for a connection), and it
tells of a reset only once. Here a connection costs one call when it comes, what is ready is fetched
for all of them at once, and what is not dealt with is told again. Where several are ready, what
they have to say can wait until all were heard (`late`): a write wakes its reader, and while he is
awake the next ones cost half. Knows nothing of TLS.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

AT_ONCE: Final = 16  # then what was said goes out, and the loop's others have their turn
_IN: Final[int] = select.EPOLLIN
_OUT: Final[int] = select.EPOLLOUT

Act = Callable[[], None]


class Watch:
    """Of one loop. Whoever closes a descriptor takes out what he has put in before.

    gathers: whoever has little to say may add himself to `late` and be called soon."""

    __slots__ = ("__weakref__", "_epoll", "_poll", "_readers", "_writers", "gathers", "late")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll: Any = select.epoll()
        self._poll: Any = self._epoll.poll
        self.gathers = False
        self.late: list[Act] = []
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
        """A descriptor may be another connection's by now: who is called for nothing finds nothing
        to read."""
        ready: list[tuple[int, int]] = self._poll(0, AT_ONCE)
        self.gathers = len(ready) > 1
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
        if self.late:
            self.let_go()

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
