"""Which files of tests one worker of pytest-xdist runs together, and which are given out first.

Files that take long go first, or one worker would be alone with them at the end; files of one
running mesh stay together, or each worker would start that mesh. `longest.txt` beside this module
has the seconds of the long ones: `pytest -n 2 --dist loadfile --junitxml=report.xml`, and then
`python -m tests.support.sharing report.xml` writes it anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
LONGEST = Path(__file__).with_name("longest.txt")
WORTH_A_LINE_S = 4.0
# They ask for the fixture `running` of tests/e2e/conftest.py.
POSTCARD = frozenset(
    f"tests/e2e/test_{name}.py"
    for name in (
        "bad_configuration", "bad_requests", "deaths", "istio_metrics", "laptop", "mutual_tls",
        "postcard", "weights",
    )
)  # fmt: skip


def unit(nodeid: str) -> str:
    """Which tests go to the same worker as this one."""
    file = nodeid.partition("::")[0]
    return "postcard" if file in POSTCARD else file


def longest() -> dict[str, float]:
    """File -> seconds, of those that take long."""
    lines = (line.split() for line in LONGEST.read_text("utf-8").splitlines())
    return {file: float(seconds) for seconds, file in lines}


def seconds_of_units() -> dict[str, float]:
    """As `longest`, by unit."""
    seconds: dict[str, float] = {}
    for file, of_file in longest().items():
        seconds[unit(file)] = seconds.get(unit(file), 0.0) + of_file
    return seconds


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]  # without types of its own
    """xdist's, but for what is together and what is next."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._seconds = seconds_of_units()

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        """xdist gives the first one out; of those that nobody measured, it has the order."""
        longest = max(self.workqueue, key=lambda name: self._seconds.get(name, 0.0))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def _measured(report: Path) -> dict[str, float]:
    """File -> seconds of its tests with what they needed, of a report in JUnit's form."""
    seconds: dict[str, float] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        folders, _, name = case.attrib["classname"].partition(".test_")
        file = f"{folders.replace('.', '/')}/test_{name.partition('.')[0]}.py"
        seconds[file] = seconds.get(file, 0.0) + float(case.attrib["time"])
    return seconds


def main(report: str) -> None:
    found = sorted(_measured(Path(report)).items(), key=lambda one: -one[1])
    lines = [f"{seconds:.0f} {file}\n" for file, seconds in found if seconds >= WORTH_A_LINE_S]
    LONGEST.write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
