"""`weft up` as a user starts it, for tests: what it says, its processes, its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.wait import eventually
from weft import loopback

ROOT = Path(__file__).resolve().parents[2]
WEFT_UP = (sys.executable, "-m", "weft", "up")
POSTCARD = ROOT / "examples" / "postcard"


class Up:
    """A running `weft up`. command: what to run before DIRECTORY; options come after it."""

    def __init__(
        self,
        directory: Path,
        state: Path,
        port: int,
        log: Path,
        *options: str,
        command: Sequence[str] = WEFT_UP,
    ) -> None:
        self.state = state
        self.port = port
        self.log_file = log
        command = [*command, str(directory), "--state-dir", str(state), "--port", str(port)]
        command += options
        # Its own group, as a shell with job control does: signals of the test reach only it.
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=ROOT, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def says(self, text: str) -> None:
        def said() -> bool:
            assert self.child.poll() is None or text in self.log, self.log
            return text in self.log

        eventually(said, 200, f"{text!r} in {self.log}")

    def get(self, host: str, path: str = "/") -> loopback.Reply:
        return loopback.get_now(self.port, path, f"{host}:{self.port}")

    def processes(self) -> list[int]:
        """Every process that was started for this mesh: they all have its state directory or an
        example's program on their command line, or us as parent."""
        return sorted(pid for pid in children(self.child.pid))

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.child.send_signal(number)
        return self.child.wait(60)


def children(pid: int) -> Iterator[int]:
    for line in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split():
        yield int(line)
        yield from children(int(line))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def up(
    tmp_path: Path,
    directory: Path = POSTCARD,
    *options: str,
    command: Sequence[str] = WEFT_UP,
) -> Iterator[Up]:
    """`weft up DIRECTORY` with its state and its log below `tmp_path`; killed if still there."""
    state, log = tmp_path / "state", tmp_path / "log"
    mesh = Up(directory, state, free_port(), log, *options, command=command)
    try:
        yield mesh
    finally:
        if mesh.child.poll() is None:
            mesh.child.kill()
        mesh.child.wait()


def pid_of(mesh: Up, *words: str) -> int:
    """The process whose command line has all the words."""

    def find() -> int:
        for pid in mesh.processes():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")
            except OSError:
                continue
            if all(any(word in part for part in line) for word in words):
                return pid
        return 0

    return eventually(find, what=f"a process with {words}")
