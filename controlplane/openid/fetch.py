"""Asking a provider of identities for its keys, as something that is opened when there is one.

A client of HTTP and the system's roots are a sixth of what a control plane imports, and most have
no provider to ask.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from controlplane.openid.reach import Reach

Fetch = Callable[[str, float], Awaitable[tuple[str, str]]]
"""(issuer, timeout in seconds of each request) -> (where the keys are, the keys); FetchError."""


class FetchError(Exception):
    """Why there are no keys; one line."""


def fetching(reach: Reach) -> Fetch:
    """Opens with the first that is asked."""
    opened: list[Fetch] = []

    async def fetch(issuer: str, timeout_s: float) -> tuple[str, str]:
        if not opened:
            opened.append(await asyncio.to_thread(_open, reach))
        return await opened[0](issuer, timeout_s)

    return fetch


def _open(reach: Reach) -> Fetch:
    from controlplane.openid.fetcher import Fetcher

    return Fetcher(reach, ssl.create_default_context())
