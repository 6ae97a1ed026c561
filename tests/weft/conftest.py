"""What the tests of the front door share."""

from __future__ import annotations

import pytest

from tests.weft.fake_weft import certificate


@pytest.fixture(scope="session")
def root_certificate() -> bytes:
    """A certificate as PEM; only its form matters."""
    return certificate()[0]
