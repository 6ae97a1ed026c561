"""Every case of h2spec that we have; `tests.conformance` counts them against its list."""

from __future__ import annotations

import pytest

from tests.support import h2spec_generic, h2spec_refused
from tests.support.h2spec import CASES, judged

if not CASES:
    h2spec_generic.add()
    h2spec_refused.add()

ENVOY_PASSES = 134


def test_there_are_as_many_cases_as_envoy_passes() -> None:
    assert len(CASES) >= ENVOY_PASSES


@pytest.mark.parametrize("title", CASES)
def test_case(title: str) -> None:
    assert judged(title) == ""
