"""What every test may ask for. Helpers are imported as `tests.support.<name>`."""

from __future__ import annotations

import pytest

_NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the report: worth reading, no reason to fail."""
    return request.config.stash.setdefault(_NOTES, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for note in config.stash.get(_NOTES, []):
        terminalreporter.write_line(f"NOTE {note}")
