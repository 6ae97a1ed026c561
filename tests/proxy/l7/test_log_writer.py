"""Log files: what is written, when, and what happens when it can't be."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.l7.log_writer import FLUSH_BYTES, PENDING_LIMIT_BYTES, LogWriters
from proxy.stats import Stats
from tests.support.wait import eventually

HOURS_S = 10_000.0  # no flush by time within a test
LINE = b"x" * 1023 + b"\n"


@pytest.fixture
def stats() -> Stats:
    return Stats()


@pytest.fixture
def quick(stats: Stats) -> Iterator[LogWriters]:
    """Flushes at once."""
    writers = LogWriters(stats, flush_interval_s=0.001)
    yield writers
    writers.close()


@pytest.fixture
def slow(stats: Stats) -> Iterator[LogWriters]:
    """Flushes only when there is much, or at the end."""
    writers = LogWriters(stats, flush_interval_s=HOURS_S)
    yield writers
    writers.close()


def count(stats: Stats, name: str) -> int:
    return stats.counter(f"filesystem.{name}").value


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "access log"]


def test_lines_are_written_in_order_after_the_interval(quick: LogWriters, tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = quick.open(str(path))
    lines = [f"line {number}\n".encode() for number in range(5000)]
    for line in lines:
        writer.write(line)
    whole = b"".join(lines)
    eventually(lambda: path.read_bytes() == whole, what="all lines in the file")


def test_every_line_arrives_when_lines_come_one_by_one(quick: LogWriters, tmp_path: Path) -> None:
    """The thread is woken again after it has emptied the queue."""
    path = tmp_path / "log"
    writer = quick.open(str(path))
    for number in range(1, 6):
        writer.write(b"line\n")
        eventually(lambda n=number: path.read_bytes() == b"line\n" * n)  # type: ignore[misc]


def test_much_is_written_before_the_interval(slow: LogWriters, tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = slow.open(str(path))
    writer.write(b"one\n")
    assert path.read_bytes() == b""
    for _ in range(FLUSH_BYTES // len(LINE) + 2):
        writer.write(LINE)
    eventually(lambda: path.read_bytes().startswith(b"one\n"), what="flushed by size")


def test_close_writes_what_is_pending(stats: Stats, tmp_path: Path) -> None:
    writers = LogWriters(stats, flush_interval_s=HOURS_S)
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        writers.open(str(path)).write(b"last words\n")
    writers.close()
    assert [path.read_bytes() for path in paths] == [b"last words\n"] * 2
    writers.close()


def test_one_writer_per_path_and_one_thread_for_all(quick: LogWriters, tmp_path: Path) -> None:
    before = len(threads())
    first = quick.open(str(tmp_path / "a"))
    assert quick.open(str(tmp_path / "a")) is first
    assert quick.open(str(tmp_path / "b")) is not first
    assert len(threads()) == before + 1


def test_an_existing_file_is_continued(quick: LogWriters, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    quick.open(str(path)).write(b"new\n")
    eventually(lambda: path.read_bytes() == b"old\nnew\n")


@pytest.mark.parametrize("name", ["", "missing/log"])
def test_a_path_that_can_not_be_opened_is_an_error_at_once(
    quick: LogWriters, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OSError, match=str(tmp_path)):
        quick.open(str(tmp_path / name))


def test_a_pipe_without_a_reader_does_not_stop_the_proxy(quick: LogWriters, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="pipe") as refused:
        quick.open(str(path))
    assert refused.value.errno == errno.ENXIO


def test_rotation(quick: LogWriters, tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    writer = quick.open(str(path))
    writer.write(b"before\n")
    eventually(lambda: path.read_bytes() == b"before\n")
    path.rename(old)
    quick.reopen()
    eventually(path.exists, what="a new file")
    writer.write(b"after\n")
    eventually(lambda: path.read_bytes() == b"after\n")
    assert old.read_bytes() == b"before\n"


def test_a_failed_rotation_loses_nothing_and_is_tried_again(
    quick: LogWriters, stats: Stats, tmp_path: Path
) -> None:
    directory, moved = tmp_path / "logs", tmp_path / "moved"
    directory.mkdir()
    writer = quick.open(str(directory / "log"))
    directory.rename(moved)
    quick.reopen()
    eventually(lambda: count(stats, "reopen_failed") == 1)
    writer.write(b"kept\n")
    eventually(lambda: (moved / "log").read_bytes() == b"kept\n")
    directory.mkdir()
    writer.write(b"new\n")
    eventually(
        lambda: (directory / "log").exists() and (directory / "log").read_bytes() == b"new\n"
    )


def test_a_full_disk_is_counted(quick: LogWriters, stats: Stats) -> None:
    writer = quick.open("/dev/full")
    writer.write(b"lost\n")
    eventually(lambda: count(stats, "write_failed") == 1)
    writer.write(b"lost\n")
    eventually(lambda: count(stats, "write_failed") == 2)
    assert count(stats, "write_buffered") == 2
    assert count(stats, "write_completed") == 0


def test_what_a_reader_does_not_take_is_dropped_and_counted(
    quick: LogWriters, stats: Stats, tmp_path: Path
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = quick.open(str(path))
    sent = 4 * PENDING_LIMIT_BYTES // len(LINE)
    for _ in range(sent):
        writer.write(LINE)
    dropped = count(stats, "write_dropped")
    assert dropped > 0
    assert count(stats, "write_buffered") == sent - dropped
    received = bytearray()

    def drain() -> bool:
        try:
            received.extend(os.read(reader, 1 << 20))
        except BlockingIOError:
            pass
        return len(received) == (sent - dropped) * len(LINE)

    eventually(drain, what="all that was not dropped")
    writer.write(b"again\n")
    eventually(lambda: os.read(reader, 6) == b"again\n" if _readable(reader) else False)
    os.close(reader)


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


@pytest.mark.parametrize(("path", "number"), [("/dev/stdout", 1), ("/dev/stderr", 2)])
def test_the_standard_streams_and_exit(path: str, number: int) -> None:
    """Flushed at exit even if nobody closes; a pipe, which `open('/dev/stdout')` may not open."""
    program = (
        "from proxy.l7.log_writer import LogWriters\n"
        "from proxy.stats import Stats\n"
        f"LogWriters(Stats(), {HOURS_S}).open({path!r}).write(b'hello\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr)[number - 1] == b"hello\n"
