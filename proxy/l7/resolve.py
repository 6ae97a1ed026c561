"""Finds the route of a stream's request: in the table, then which of its weighted clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.l7.chain import NO_CHAIN

if TYPE_CHECKING:
    from proxy.l7.entry import RouteEntry
    from proxy.l7.stream import Stream


def resolve(stream: Stream) -> RouteEntry | None:
    """None: no route takes it. What is for inside only is taken from a request before its first
    look at the table, unless it comes from inside (`internal_only_headers`)."""
    table = stream.manager.table
    if table.internal_only and stream.chain is NO_CHAIN:
        headers = stream.request.headers
        if headers.get(b"x-envoy-internal") != b"true":
            for name in table.internal_only:
                headers.remove(name)
    entry = table.find(stream.request, stream)
    if entry is None or entry.pick is None:
        return entry
    return entry.pick(stream)
