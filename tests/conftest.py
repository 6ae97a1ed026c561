"""What every test may ask for. Helpers are imported as `tests.support.<name>`."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import compiled, sharing

_NOTES = pytest.StashKey[list[str]]()
_PROGRAMS = pytest.StashKey[str]()

# How long an example takes is the machine's matter, and not what a test judges.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the report: worth reading, no reason to fail."""
    return request.config.stash[_NOTES]


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") and (reason := compiled.why_not()):
        pytest.exit(f"where CI is set, the compiled proxy is judged; it is {reason}", 2)
    config.stash[_NOTES] = []
    config.stash[_PROGRAMS] = compiled.use_if_ready()  # not in the header, which -q leaves out


def pytest_report_header(config: pytest.Config) -> str:
    return f"programs that tests start: {config.stash[_PROGRAMS]}"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under pytest-xdist (-n) a worker hands its notes to whoever writes the report."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["notes"] = session.config.stash[_NOTES]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Under `--dist loadfile`; whoever asks for another way gets xdist's."""
    return sharing.LongestFirst(config, log) if config.option.dist == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_NOTES] += getattr(node, "workeroutput", {}).get("notes", [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for note in config.stash[_NOTES]:
        terminalreporter.write_line(f"NOTE {note}")
