"""The control plane with a watch over its loop: `python -m benchmarks.scale.turns FILE OPTIONS...`

Every 5 ms it looks how much CPU the loop's thread has used since the last look. A look comes once a
turn at most, so what was used is one turn's, or that of short ones together. Turns of more than
10 ms are written to FILE: when they ended (monotonic, s), and how long they were (ms). CPU and not
time, as others may use the machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import uvloop

LOOK_EVERY_S = 0.005
TOLD_S = 0.01


class Watch:
    def __init__(self, loop: uvloop.Loop, sink: TextIO) -> None:
        self._loop = loop
        self._sink = sink
        self._used_s = 0.0
        loop.call_soon(self._look)

    def _look(self) -> None:
        used_s = time.thread_time()
        if self._used_s and used_s - self._used_s > TOLD_S:
            turn_ms = 1000 * (used_s - self._used_s)
            self._sink.write(f"{time.monotonic():.4f} {turn_ms:.1f}\n")
            self._sink.flush()
        self._used_s = time.thread_time()
        self._loop.call_later(LOOK_EVERY_S, self._look)


def longest_ms(file: Path, began_s: float, ended_s: float) -> float:
    """Of the turns that ended meanwhile; 0 if all were short."""
    return max((ms for at, ms in _turns(file) if began_s <= at <= ended_s), default=0.0)


def _turns(file: Path) -> Iterable[tuple[float, float]]:
    for line in file.read_text().splitlines():
        at, turn_ms = line.split()
        yield float(at), float(turn_ms)


def main() -> None:
    made = uvloop.new_event_loop
    with open(sys.argv.pop(1), "a") as sink:

        def watched() -> uvloop.Loop:
            loop = made()
            Watch(loop, sink)
            return loop

        uvloop.new_event_loop = watched
        from weft.cli import main as weft

        weft()


if __name__ == "__main__":
    main()
