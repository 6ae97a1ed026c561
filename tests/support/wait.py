"""Waiting for a condition instead of sleeping: ends as soon as it holds, else names what it was.

Deadlines are generous on purpose: a loaded machine makes a test slow, never red.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.01


def eventually(condition: Callable[[], T | None], deadline_s: float = 60.0, what: str = "") -> T:
    """The first true result of `condition`; AssertionError naming `what` after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while True:
        if result := condition():
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what or condition}")
        time.sleep(POLL_S)


async def eventually_async(
    condition: Callable[[], T | None], deadline_s: float = 60.0, what: str = ""
) -> T:
    """As `eventually`, letting the running loop go on meanwhile."""
    end = time.monotonic() + deadline_s
    while True:
        if result := condition():
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what or condition}")
        await asyncio.sleep(POLL_S)
