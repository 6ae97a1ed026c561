"""Our own end of a connection to a host, for the access log."""

from __future__ import annotations

import asyncio


def own_address(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """None for a Unix socket, or one that is gone already."""
    name = transport.get_extra_info("sockname")
    return (name[0], name[1]) if isinstance(name, tuple) else None
