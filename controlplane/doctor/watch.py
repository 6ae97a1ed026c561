"""Keeps looking: the newest findings for metrics, and a log line for each that is new and bad.

Each is told once when it becomes a warning, once more when it becomes an error, and again after it
was in order in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from certs.doctor import Severity
from controlplane.doctor.findings import Finding, Kind

log = logging.getLogger("weft.controlplane.doctor")

SLICE = 200
"""So many findings are made before other work of the loop has its turn."""

MAX_LINES = 20
"""At a time; of further findings only the number is told."""

_LEVELS = {Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR}
Key = tuple[Kind, str, str]


class Watch:
    """look() every minute or so, and whenever somebody asks. findings: the worst first, then what
    ends first."""

    __slots__ = ("_clock", "_examine", "_told", "findings")

    def __init__(
        self, examine: Callable[[float], Iterator[Finding]], clock: Callable[[], float]
    ) -> None:
        self._examine = examine
        self._clock = clock
        self._told: dict[Key, Severity] = {}
        self.findings: tuple[Finding, ...] = ()

    async def look(self) -> float:
        """Takes the findings of now; answers when that was."""
        now = self._clock()
        found: list[Finding] = []
        for one in self._examine(now):
            found.append(one)
            if len(found) % SLICE == 0:
                await asyncio.sleep(0)
        self.findings = tuple(sorted(found, key=lambda finding: finding.order))
        bad = {_key(one): one for one in self.findings if one.severity is not Severity.OK}
        new = [one for key, one in bad.items() if self._told.get(key) != one.severity]
        self._told = {key: one.severity for key, one in bad.items()}
        self._tell(new)
        return now

    def _tell(self, new: Iterable[Finding]) -> None:
        worst = list(new)
        for one in worst[:MAX_LINES]:
            breaks = f"; what breaks: {one.breaks}" if one.breaks else ""
            serial = f" serial={one.serial}" if one.serial else ""
            log.log(
                _LEVELS[one.severity],
                "%s of %s%s: %s%s", one.kind, one.where, serial, one.text, breaks,
            )  # fmt: skip
        if len(worst) > MAX_LINES:
            more = len(worst) - MAX_LINES
            log.warning("and %d more that end or are wrong: weft ca doctor lists them", more)


def _key(finding: Finding) -> Key:
    return (finding.kind, finding.where, finding.serial)
