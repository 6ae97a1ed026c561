"""What a request is counted in beside its cluster: its virtual cluster, and its route.

Envoy's `vhost.<name>.vcluster.<name>.*` and `vhost.<name>.route.<stat_prefix>.*`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.stats import Counter, Stats

if TYPE_CHECKING:
    from proxy.l7.entry import RouteEntry
    from proxy.l7.logged import Logged
    from proxy.l7.stream import Stream

COUNTERS = (
    "upstream_rq_retry",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_success",
    "upstream_rq_timeout",
    "upstream_rq_total",
)


OTHERS = "other"
"""Envoy's name for the requests that no virtual cluster takes; a log does not tell it."""


class RequestStats:
    """Each counter an attribute of its own name. name: of the virtual cluster, for the log."""

    def __init__(self, stats: Stats, prefix: str, name: str = "") -> None:
        self.name = name
        for each in COUNTERS:
            setattr(self, each, stats.counter(prefix + each))
        self.upstream_rq_time = stats.histogram(prefix + "upstream_rq_time")
        self.statuses = stats.statuses(prefix + "upstream_rq_", single=True)

    def __getattr__(self, name: str) -> Counter:
        raise AttributeError(name)


def route_stats(stats: Stats, virtual_host: str, stat_prefix: str) -> RequestStats | None:
    if not stat_prefix:
        return None
    return RequestStats(stats, f"vhost.{virtual_host}.route.{stat_prefix}.")


def set_up(stream: Stream, entry: RouteEntry) -> None:
    """The request is about to be sent by `entry`."""
    virtual_cluster = None if entry.counted is None else entry.counted(stream)
    found = (virtual_cluster, entry.stats)
    stream.counted = tuple([each for each in found if each is not None])


def count(stream: Stream, name: str) -> None:
    for one in stream.counted:
        getattr(one, name).value += 1


def charge(stream: Stream, status: int) -> None:
    """The router has an answer of `status`, the upstream's or its own."""
    for one in stream.counted:
        one.statuses.add(status)


def virtual_cluster_name(stream: Logged) -> str:
    found = next((one.name for one in stream.counted), "")
    return "" if found == OTHERS else found
