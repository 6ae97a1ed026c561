"""How the parts of a running mesh tell the user something; the plain form prints lines.

`live` has the other form, with a status below the lines. Colours only on a terminal.
"""

from __future__ import annotations

import sys
import zlib
from typing import Protocol, TextIO

# Readable on black and on white, and none of them red: red is for errors.
COLOURS = (36, 35, 34, 32, 33, 96, 95, 94)
DIM, RED, YELLOW, BOLD = 2, 31, 33, 1


class Reporter(Protocol):
    """note: all went as it should; warn: something to look at; output: a line of a process.

    width: of the column with the names."""

    width: int

    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def output(self, name: str, text: str) -> None: ...


class PlainReporter:
    """One line for each event, at once, also when stdout is a pipe."""

    __slots__ = ("_colour", "_stream", "width")

    def __init__(self, stream: TextIO | None = None, width: int = 12) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty()
        self.width = width

    def note(self, text: str) -> None:
        self._print(f"{self._own()} {text}")

    def warn(self, text: str) -> None:
        self._print(f"{self._own()} {self.paint(text, YELLOW)}")

    def output(self, name: str, text: str) -> None:
        self._print(f"{self.paint(name.rjust(self.width), colour_of(name))} │ {text}")

    def _own(self) -> str:
        return self.paint("weft".rjust(self.width) + " ∙", BOLD)

    def paint(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def colour_of(name: str) -> int:
    """Always the same colour for the same name."""
    return COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]
