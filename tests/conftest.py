"""What every test may ask for. Helpers are imported as `tests.support.<name>`."""

from __future__ import annotations

import os

import pytest

from tests.support import compiled

_NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the report: worth reading, no reason to fail."""
    return request.config.stash.setdefault(_NOTES, [])


def pytest_configure() -> None:
    if os.environ.get("CI") and (reason := compiled.why_not()):
        pytest.exit(f"where CI is set, the compiled proxy is judged; it is {reason}", 2)
    compiled.use_if_ready()  # not in the header, which -q leaves out


def pytest_report_header() -> str:
    return f"programs that tests start: {compiled.use_if_ready()}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for note in config.stash.get(_NOTES, []):
        terminalreporter.write_line(f"NOTE {note}")
