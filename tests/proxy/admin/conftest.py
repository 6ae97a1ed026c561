"""Log levels that a test of `/logging` sets do not outlive it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _log_levels() -> Iterator[None]:
    level = logging.getLogger("weft").level
    yield
    logging.getLogger("weft").setLevel(level)
