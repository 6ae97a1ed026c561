"""One supervised child process: its own process group, its output line by line, its restarts.

States: `starting` (being spawned), `running`, `waiting` (dead, until the back-off has passed),
`exited` (dead for good), `stopped` (because we asked). It knows nothing of meshes: what is to
happen when it starts or dies is told to the `Hooks`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from weft import groups
from weft.tasks import spawn

State = Literal["starting", "running", "waiting", "exited", "stopped"]
LEASH = str(Path(__file__).with_name("leash.py"))
STOP_GRACE_S = 5.0
BACK_OFF_FIRST_S, BACK_OFF_MAX_S = 1.0, 10.0
# A process that lived this long is well: the next death starts the back-off from the beginning.
WELL_AFTER_S = 30.0
LINE_LIMIT_BYTES = 16 * 1024
TAIL_LINES = 20
LOG_LIMIT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. env is the whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """Called by the process. prepare: makes the command anew before each start.

    on_start(pid), on_line(text) for each line of output, on_exit(how it ended, seconds until the
    next start or None)."""

    prepare: Callable[[], Awaitable[Command]]
    on_start: Callable[[int], None] = lambda pid: None
    on_line: Callable[[str], None] = lambda text: None
    on_exit: Callable[[str, float | None], None] = lambda how, again_s: None


@dataclass(slots=True)
class Process:
    """`start()` once; then it is kept running until `stop()`, or once only with restart=False."""

    name: str
    hooks: Hooks
    log_file: Path
    restart: bool = True
    state: State = "starting"
    pid: int | None = None
    restarts: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = spawn(self._supervise(), f"process {self.name}")

    @property
    def stopping(self) -> bool:
        """It has been told to end, for good."""
        return self._stopping.is_set()

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """SIGTERM to its group, SIGKILL after `grace_s`; returns when it is gone."""
        self._stopping.set()
        if self._task is None:
            return
        if self.pid is not None:
            kill_group(self.pid, signal.SIGTERM)
        done, _ = await asyncio.wait([self._task], timeout=grace_s)
        if not done and self.pid is not None:
            kill_group(self.pid, signal.SIGKILL)
        await asyncio.wait([self._task])

    def kill(self) -> None:
        """SIGKILL to its group now, for good; who stops it need not wait any more."""
        self._stopping.set()
        if self.pid is not None:
            kill_group(self.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Until it is dead for good."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _supervise(self) -> None:
        back_off_s = BACK_OFF_FIRST_S
        while not self._stopping.is_set():
            began = time.monotonic()
            how = await self._run_once()
            if self._stopping.is_set():
                break
            if time.monotonic() - began > WELL_AFTER_S:
                back_off_s = BACK_OFF_FIRST_S
            self.state = "waiting" if self.restart else "exited"
            self.hooks.on_exit(how, back_off_s if self.restart else None)
            if not self.restart:
                return
            await self._pause(back_off_s)
            back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)
            self.restarts += 1
        self.state = "stopped"

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            pass

    async def _run_once(self) -> str:
        self.state = "starting"
        try:
            command = await self.hooks.prepare()
        except Exception as error:  # whatever the preparation needs may be away for now
            return f"could not be prepared: {error}"
        if self._stopping.is_set():
            return "not started"
        output, child_end = os.pipe()
        try:
            child = await spawn_leashed(command, child_end)
        except OSError as error:
            os.close(output)
            return f"could not be started: {error}"
        finally:
            os.close(child_end)
        return await self._follow(child, output)

    async def _follow(self, child: asyncio.subprocess.Process, output: int) -> str:
        self.pid, self.state = child.pid, "running"
        groups.OURS.add(child.pid)
        reader = spawn(self._read(output), f"output of {self.name}")
        if self._stopping.is_set():  # stop() came while the child was being born
            kill_group(child.pid, signal.SIGTERM)
        self.hooks.on_start(child.pid)
        code = await child.wait()
        self.pid = None
        # What the program leaves behind in its group goes with it, as in a container.
        kill_group(child.pid, signal.SIGKILL)
        groups.OURS.remove(child.pid)
        await asyncio.wait([reader], timeout=1.0)
        reader.cancel()
        return describe_exit(code)

    async def _read(self, output: int) -> None:
        stream = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
        protocol = asyncio.StreamReaderProtocol(stream)
        pipe = os.fdopen(output, "rb", buffering=0)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: protocol, pipe)
        log = LogFile(self.log_file)
        try:
            while line := await _read_line(stream):
                log.write(line)
                text = line.decode(errors="replace").rstrip("\r\n")
                self.tail.append(text)
                self.hooks.on_line(text)
        finally:
            transport.close()
            log.close()


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    """One line with its end; a longer one than the limit comes in pieces; b'' at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.readexactly(error.consumed) + b"\n"


async def spawn_leashed(
    command: Command, output: int | None, stdin: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """Starts `command` as leader of its own process group, tied to our life."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", LEASH, str(os.getpid()), *command.argv),
        stdin=stdin,
        stdout=output,
        stderr=output,
        env=dict(command.env),
        cwd=command.cwd,
        process_group=0,
    )


def kill_group(group: int, number: signal.Signals) -> None:
    """Sends a signal to every process of a group that may be gone already."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        pass


def describe_exit(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


class LogFile:
    """A file of output that begins anew past 10 MB; the part before is kept as NAME.1."""

    __slots__ = ("_file", "_path", "_size")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    def write(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError:  # a full disk: the terminal has it, and a program isn't stopped for its log
            return
        self._size += len(line)
        if self._size > LOG_LIMIT_BYTES:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("ab", buffering=0)
            self._size = 0

    def close(self) -> None:
        self._file.close()
