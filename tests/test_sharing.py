"""How files of tests are shared out among workers (`-n 2 --dist loadfile`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import sharing
from tests.support.sharing import POSTCARD, ROOT, LongestFirst, longest, main, unit


class Worker:
    """Notes what it is given, and has done it at once."""

    shutting_down = False

    def __init__(self, tests: list[str]) -> None:
        self._tests = tests
        self.given: list[str] = []

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.given += [self._tests[number] for number in numbers]

    def shutdown(self) -> None:
        self.shutting_down = True


def test_the_longest_file_is_given_out_first_and_one_mesh_to_one_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    table = tmp_path / "longest.txt"
    table.write_text("9 long.py\n4 tests/e2e/test_deaths.py\n3 tests/e2e/test_postcard.py\n")
    monkeypatch.setattr(sharing, "LONGEST", table)
    tests = [
        *("many.py::a", "many.py::b", "many.py::c", "many.py::d"),
        *("tests/e2e/test_deaths.py::a", "tests/e2e/test_deaths.py::b"),
        *("tests/e2e/test_postcard.py::a", "long.py::a", "long.py::b", "long.py::c"),
    ]
    monkeypatch.setattr(request.config.option, "tx", ["popen"], raising=False)
    monkeypatch.setattr(request.config.option, "loadscopereorder", True, raising=False)
    scheduler = LongestFirst(request.config, None)
    worker = Worker(tests)
    scheduler.add_node(worker)
    scheduler.add_node_collection(worker, tests)
    scheduler.schedule()  # three tests at least are with a worker, or it would wait for more
    for number in (7, 8, 9, 4, 5, 6):
        scheduler.mark_test_complete(worker, number)
    assert worker.given == tests[7:] + tests[4:7] + tests[:4]


def test_every_file_that_is_named_is_there() -> None:
    assert len(longest()) > 20
    assert not [file for file in (*longest(), *POSTCARD) if not (ROOT / file).exists()]


def test_whoever_asks_for_the_running_mesh_is_named() -> None:
    asking = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests" / "e2e").glob("test_*.py")
        if ": Postcard" in path.read_text("utf-8")
    }
    assert asking == POSTCARD
    assert {unit(f"{file}::test[a::b]") for file in POSTCARD} == {"postcard"}


def test_a_report_becomes_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report, table = tmp_path / "report.xml", tmp_path / "longest.txt"
    monkeypatch.setattr(sharing, "LONGEST", table)
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="tests.a.test_b" name="one" time="3"/>'
        '<testcase classname="tests.a.test_b.TestOf" name="two" time="4.2"/>'
        '<testcase classname="tests.a.test_c" name="one" time="11"/>'
        '<testcase classname="tests.a.test_d" name="one" time="1"/>'
        "</testsuite></testsuites>"
    )
    main(str(report))
    assert table.read_text() == "11 tests/a/test_c.py\n7 tests/a/test_b.py\n"
    assert longest() == {"tests/a/test_c.py": 11.0, "tests/a/test_b.py": 7.0}
