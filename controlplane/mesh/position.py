"""Where a value was written: what statuses, explanations and errors point at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, order=True, unsafe_hash=True)
class Position:
    """`source` is a file, or e.g. 'api' with line 0, or 'kubernetes:Service/default/web' with the
    path of a field. It never changes; frozen it would take four times as long to make, and every
    value of every object has one."""

    source: str
    line: int = 0
    column: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.line:
            return f"{self.source}:{self.line}:{self.column}"
        return f"{self.source}:{self.path}" if self.path else self.source


NOWHERE = Position("-")
