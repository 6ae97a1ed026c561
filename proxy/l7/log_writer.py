"""Access log files: lines are taken at once and written by one background thread for all files.

The loop never waits for a disk. What a slow or full one does not take is dropped and counted,
never an error while running; a path that can't be opened is an OSError when it is configured.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from threading import Event, Thread
from typing import Protocol

from proxy.stats import Stats

FLUSH_INTERVAL_S = 1.0
FLUSH_BYTES = 64 * 1024
PENDING_LIMIT_BYTES = 1024 * 1024
CLOSE_WAIT_S = 2.0
STANDARD_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}


class LineSink(Protocol):
    """What an access logger writes to."""

    def write(self, line: bytes) -> None: ...


class FileStats:
    """Envoy's `filesystem.*`, and `write_dropped`: lines that came while too many were pending.

    Each is touched by one side only, the loop's or the thread's: addition is not atomic."""

    def __init__(self, stats: Stats) -> None:
        self.write_buffered = stats.counter("filesystem.write_buffered")
        self.write_dropped = stats.counter("filesystem.write_dropped")
        self.write_completed = stats.counter("filesystem.write_completed")
        self.write_failed = stats.counter("filesystem.write_failed")
        self.reopen_failed = stats.counter("filesystem.reopen_failed")


class LogWriter:
    """One open file. `write` is for the loop's thread alone, `flush` for the background thread.

    They share a deque and two counts of bytes, each with one writer: no lock. Whoever makes the
    deque longer than empty sets `dirty`, after which the thread is sure to empty it again."""

    def __init__(self, path: str, stats: FileStats, dirty: Event, full: Event) -> None:
        self.path = path
        self.reopening = False
        self._stats = stats
        self._dirty = dirty
        self._full = full
        self._lines: deque[bytes] = deque()
        self._taken_bytes = 0
        self._done_bytes = 0
        self._fd = _open(path)

    def write(self, line: bytes) -> None:
        """Takes a whole line, or drops it if PENDING_LIMIT_BYTES wait already."""
        pending_bytes = self._taken_bytes - self._done_bytes
        if pending_bytes > PENDING_LIMIT_BYTES:
            self._stats.write_dropped.value += 1
            return
        self._taken_bytes += len(line)
        self._lines.append(line)
        self._stats.write_buffered.value += 1
        if len(self._lines) == 1:
            self._dirty.set()
        if pending_bytes > FLUSH_BYTES and not self._full.is_set():
            self._full.set()

    def flush(self) -> None:
        """Writes what is there, first to a new file if one was asked for."""
        if self.reopening:
            self._reopen()
        batch: list[bytes] = []
        lines = self._lines
        while lines:
            batch.append(lines.popleft())
        if not batch:
            return
        data = b"".join(batch)
        try:
            _write_all(self._fd, data)
            self._stats.write_completed.value += 1
        except OSError:
            self._stats.write_failed.value += 1  # disk full, reader gone: the lines are lost
        self._done_bytes += len(data)

    def close(self) -> None:
        os.close(self._fd)

    def _reopen(self) -> None:
        """The old file stays in use until the new one is open; tried again at each flush."""
        try:
            fresh = _open(self.path)
        except OSError:
            self._stats.reopen_failed.value += 1
            return
        os.close(self._fd)
        self._fd = fresh
        self.reopening = False


class LogWriters:
    """All the log files of a process, one writer per path, open until the end (as Envoy's).

    `reopen` is for log rotation (SIGHUP, Envoy's `/reopen_logs`). Closed at exit by itself."""

    def __init__(self, stats: Stats, flush_interval_s: float = FLUSH_INTERVAL_S) -> None:
        self._stats = FileStats(stats)
        self._interval_s = flush_interval_s
        self._writers: dict[str, LogWriter] = {}
        self._dirty = Event()
        self._full = Event()
        self._closing = False
        self._writing: Thread | None = None

    def open(self, path: str) -> LogWriter:
        """The writer of `path`. OSError, with the path in it, if it can't be opened."""
        found = self._writers.get(path)
        if found is None:
            found = LogWriter(path, self._stats, self._dirty, self._full)
            self._writers[path] = found
            self._start()
        return found

    def reopen(self) -> None:
        """Has the thread open every path anew, before what is written next."""
        for writer in list(self._writers.values()):
            writer.reopening = True
        self._dirty.set()
        self._full.set()

    def close(self) -> None:
        """Writes what is pending and closes all; gives up on a file that won't take it in time."""
        thread, self._writing = self._writing, None
        if thread is None:
            return
        atexit.unregister(self.close)
        self._closing = True
        self._dirty.set()
        self._full.set()
        thread.join(CLOSE_WAIT_S)

    def _start(self) -> None:
        if self._writing is None:
            self._writing = Thread(target=self._run, name="access log", daemon=True)
            self._writing.start()
            atexit.register(self.close)

    def _run(self) -> None:
        """Sleeps while there is nothing to write, then gathers lines for one interval."""
        while not self._closing:
            self._dirty.wait()
            self._full.wait(self._interval_s)
            self._dirty.clear()
            self._full.clear()
            self._flush()
        self._flush()
        for writer in self._writers.values():
            writer.close()

    def _flush(self) -> None:
        for writer in list(self._writers.values()):
            writer.flush()


def _open(path: str) -> int:
    """For appending. Not blocking while it opens: a FIFO without a reader is an error, not a
    standstill."""
    if (standard := STANDARD_STREAMS.get(path)) is not None:
        try:
            return os.dup(standard)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644)
    os.set_blocking(fd, True)
    return fd


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
