"""Supervised processes: output, restarts, the whole group's end, and no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.wait import eventually, eventually_async
from weft import process
from weft.process import Command, Hooks, Process

CHILD_AND_GRANDCHILD = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("pids", os.getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


@dataclass
class Seen:
    """What a process told its hooks."""

    lines: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    exits: list[tuple[str, float | None]] = field(default_factory=list)


def make(tmp_path: Path, code: str, restart: bool = False) -> tuple[Process, Seen]:
    seen = Seen()
    command = Command((sys.executable, "-u", "-c", code), os.environ, tmp_path)

    async def prepare() -> Command:
        return command

    hooks = Hooks(
        prepare, seen.pids.append, seen.lines.append, lambda how, s: seen.exits.append((how, s))
    )
    return Process("p", hooks, tmp_path / "p.log", restart), seen


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_output_is_told_line_by_line_and_kept(tmp_path: Path) -> None:
    child, seen = make(tmp_path, "import sys; print('a\\nb'); print('err', file=sys.stderr)")
    child.start()
    await child.wait()
    assert seen.lines == ["a", "b", "err"]
    assert (tmp_path / "p.log").read_text("utf-8") == "a\nb\nerr\n"
    assert seen.exits == [("exited with code 0", None)]
    assert child.state == "exited"


async def test_a_very_long_line_comes_in_pieces(tmp_path: Path) -> None:
    child, seen = make(tmp_path, "print('x' * 100_000)")
    child.start()
    await child.wait()
    assert "".join(seen.lines) == "x" * 100_000
    assert len(seen.lines) > 1


async def test_it_runs_where_it_was_told(tmp_path: Path) -> None:
    child, seen = make(tmp_path, "import os; print(os.getcwd())")
    child.start()
    await child.wait()
    assert seen.lines == [str(tmp_path)]


async def test_a_dead_process_is_started_again_with_back_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BACK_OFF_FIRST_S", 0.01)
    monkeypatch.setattr(process, "BACK_OFF_MAX_S", 0.03)
    child, seen = make(tmp_path, "raise SystemExit(3)", restart=True)
    child.start()
    await eventually_async(lambda: len(seen.exits) >= 4, what="four deaths")
    await child.stop()
    assert seen.exits[:4] == [
        ("exited with code 3", 0.01),
        ("exited with code 3", 0.02),
        ("exited with code 3", 0.03),
        ("exited with code 3", 0.03),
    ]
    assert len(set(seen.pids)) == len(seen.pids) >= 4
    assert child.state == "stopped"


async def test_a_killed_process_is_said_to_be_killed(tmp_path: Path) -> None:
    child, seen = make(tmp_path, "import os; os.kill(os.getpid(), 9)")
    child.start()
    await child.wait()
    assert seen.exits == [("killed by SIGKILL", None)]


async def test_stop_ends_the_whole_group(tmp_path: Path) -> None:
    child, seen = make(tmp_path, CHILD_AND_GRANDCHILD)
    child.start()
    await eventually_async(lambda: bool(seen.lines), what="the pids")
    pids = [int(word) for word in seen.lines[0].split()[1:]]
    await child.stop()
    await eventually_async(lambda: not any(map(alive, pids)), what="the end of both")
    assert seen.exits == []


async def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    child, seen = make(tmp_path, STUBBORN)
    child.start()
    await eventually_async(lambda: seen.lines == ["deaf"], what="its first word")
    await child.stop(grace_s=0.05)
    assert not alive(seen.pids[0])


async def test_what_is_killed_by_us_is_not_started_again(tmp_path: Path) -> None:
    child, seen = make(tmp_path, STUBBORN, restart=True)
    child.start()
    await eventually_async(lambda: seen.lines == ["deaf"], what="its first word")
    child.kill()
    await child.wait()
    assert (seen.exits, len(seen.pids), child.state) == ([], 1, "stopped")


async def test_what_a_dead_process_leaves_behind_goes_too(tmp_path: Path) -> None:
    code = CHILD_AND_GRANDCHILD.replace("time.sleep(600)\n", "", 1)
    child, seen = make(tmp_path, code.rstrip().removesuffix("time.sleep(600)"))
    child.start()
    await child.wait()
    grandchild = int(seen.lines[0].split()[2])
    await eventually_async(lambda: not alive(grandchild), what="the end of the grandchild")


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    seen = Seen()

    async def prepare() -> Command:
        return Command(("no-such-program",), os.environ)

    hooks = Hooks(prepare, on_line=seen.lines.append, on_exit=lambda how, s: seen.lines.append(how))
    child = Process("p", hooks, tmp_path / "p.log", restart=False)
    child.start()
    await child.wait()
    assert seen.lines == [
        "cannot run no-such-program: No such file or directory",
        "exited with code 127",
    ]


async def test_a_preparation_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BACK_OFF_FIRST_S", 0.01)
    exits: list[str] = []
    lines: list[str] = []

    async def prepare() -> Command:
        if not exits:
            raise OSError("not yet")
        return Command((sys.executable, "-c", "print('at last')"), os.environ)

    hooks = Hooks(prepare, on_line=lines.append, on_exit=lambda how, s: exits.append(how))
    child = Process("p", hooks, tmp_path / "p.log")
    child.start()
    await eventually_async(lambda: "at last" in lines, what="the second start")
    await child.stop()
    assert exits[0] == "could not be prepared: not yet"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_children_die_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent_code = f"""
import asyncio, os, sys
from weft.process import Command, spawn_leashed
async def main():
    command = Command((sys.executable, "-c", "import time; time.sleep(600)"), os.environ)
    child = await spawn_leashed(command, None)
    open({str(tmp_path / "pid")!r}, "w").write(str(child.pid) + "\\n")
    await asyncio.sleep(600)
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", parent_code])
    try:
        file = tmp_path / "pid"
        eventually(lambda: file.exists() and file.read_text("utf-8").endswith("\n"))
        pid = int(file.read_text("utf-8"))
        assert alive(pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    eventually(lambda: not alive(pid), what="the end of the child")


def test_a_long_log_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_LIMIT_BYTES", 10)
    log = process.LogFile(tmp_path / "p.log")
    for line in (b"one\n", b"two\n", b"three\n", b"four\n"):
        log.write(line)
    log.close()
    assert (tmp_path / "p.log").read_bytes() == b"four\n"
    assert (tmp_path / "p.log.1").read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_grandchildren_die_with_a_parent_that_was_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Nobody's death signal reaches a grandchild: the guardian ends the group."""
    parent_code = f"""
import asyncio, os, sys
from pathlib import Path
from weft.process import Command, Hooks, Process
async def prepare():
    return Command((sys.executable, "-c", {CHILD_AND_GRANDCHILD!r}), os.environ)
async def main():
    hooks = Hooks(prepare, on_line=lambda text: print(text, flush=True))
    Process("p", hooks, Path({str(tmp_path)!r}) / "log").start()
    await asyncio.sleep(600)
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()[1:]]
        assert all(map(alive, pids))
    finally:
        parent.send_signal(number)
        parent.communicate()
    eventually(lambda: not any(map(alive, pids)), what="the end of both")


def test_a_full_disk_costs_the_log_and_not_the_process() -> None:
    log = process.LogFile(Path("/dev/full"))
    log.write(b"a line\n")
    log.close()
