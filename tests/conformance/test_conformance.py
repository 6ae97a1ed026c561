"""Every suite of real cases passes, but for what known_failures.yaml names with its reason."""

from __future__ import annotations

import pytest

from tests.conformance.suites import SUITES, known_failures, tally

SHOWN = 20


@pytest.mark.parametrize("name", SUITES)
def test_real_cases_pass(name: str, notes: list[str]) -> None:
    found = tally(name, everything=False)
    notes.append(f"conformance {found}")
    assert found.total, "no case was found: what is judged then?"
    lines = [f"{result.name}: {result.reason}" for result in found.failed]
    assert not lines, f"{found}\n" + "\n".join(lines[:SHOWN])
    assert not found.stale, "these pass: take them out of known_failures.yaml"


def test_every_known_failure_has_a_suite_and_a_reason() -> None:
    for entry in known_failures():
        assert entry.suite in SUITES
        assert entry.reason
