"""The filters of a connection manager on one route, laid out as a stream walks them.

Made by `compile` once per route that has configuration of its own for a filter, else once per
manager. Filters with nothing to do are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.filters.api import (
    Answer,
    FilterStream,
    MissingCluster,
    OnData,
    OnEnd,
    OnResponse,
)

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """steps: the router is the last. places: which filter of the manager each step is, ascending.
    request_data, request_end: each as long as `steps`, or empty if no filter has one. replies,
    response_data, response_end: in the order of a reply, the last filter first. looks_at_requests,
    looks_at_replies: there are hooks for bodies or ends of theirs. missing_cluster: what is to
    be done about a cluster that is not here."""

    steps: tuple[Callable[[Stream], Answer], ...]
    places: tuple[int, ...]
    request_data: tuple[OnData | None, ...] = ()
    request_end: tuple[OnEnd | None, ...] = ()
    replies: tuple[OnResponse, ...] = ()
    response_data: tuple[OnData, ...] = ()
    response_end: tuple[OnEnd, ...] = ()
    at_end: tuple[Callable[[FilterStream], None], ...] = ()
    looks_at_requests: bool = False
    looks_at_replies: bool = False
    missing_cluster: MissingCluster | None = None


NO_CHAIN: Final = Chain((), ())
"""Of a stream that was answered before its route was looked for."""
