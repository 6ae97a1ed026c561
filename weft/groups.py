"""Tells the guardian which process groups are ours, so that they end when we do.

There is one guardian for each Python process that starts children, from the first child on.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
from pathlib import Path
from typing import IO

GUARDIAN = str(Path(__file__).with_name("guardian.py"))


class Groups:
    """`add` a group when it is born, `remove` it when it has gone."""

    __slots__ = ("_guardian", "_pipe")

    def __init__(self) -> None:
        self._guardian: subprocess.Popen[bytes] | None = None
        self._pipe: IO[bytes] | None = None

    def add(self, group: int) -> None:
        if self._pipe is None:
            self._start()
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def _start(self) -> None:
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARDIAN],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._pipe = self._guardian.stdin
        atexit.register(self._end)

    def _tell(self, line: str) -> None:
        if self._pipe is None:
            return
        try:
            self._pipe.write(line.encode())
            self._pipe.flush()
        except BrokenPipeError:  # somebody killed it: the leashes still hold
            self._pipe = None

    def _end(self) -> None:
        if self._guardian is not None and self._guardian.stdin is not None:
            try:
                self._guardian.stdin.close()
            except BrokenPipeError:
                pass
            self._guardian.wait()


# Rule zero: a global, because a guardian belongs to the process and not to any object in it.
OURS = Groups()
