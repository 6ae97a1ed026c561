"""Finds the route of a stream's request: in the table, then which of its weighted clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.l7.entry import RouteEntry
    from proxy.l7.stream import Stream


def resolve(stream: Stream) -> RouteEntry | None:
    """None: no route takes it."""
    entry = stream.manager.table.find(stream.request, stream)
    if entry is None or entry.pick is None:
        return entry
    return entry.pick(stream)
