"""What a suite of real cases is: a function from the folder of the cases to one result for each.

Must not know any suite: `tests.conformance.suites` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """One case, named so that it can be found again. It passed when there is no `reason`.

    `lacks` names the extension or field for want of which a configuration was refused: as it
    should be, and yet something to count.
    """

    name: str
    reason: str = ""
    lacks: str = ""

    @property
    def passed(self) -> bool:
        return not self.reason


Run = Callable[[Path], Iterator[Result]]
