"""What the tests of the front door share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.weft.fake_weft import certificate

FAKE = Path(__file__).with_name("fake_weft.py")


@pytest.fixture(scope="session")
def root_certificate() -> bytes:
    """A certificate as PEM; only its form matters."""
    return certificate()[0]


@pytest.fixture
def fake_program() -> tuple[str, ...]:
    """Stands for `weft` where the mesh starts its control plane and proxies."""
    return (sys.executable, str(FAKE))
