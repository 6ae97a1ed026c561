"""Virtual clusters: the statistics that a request is counted in beside those of its cluster."""

from __future__ import annotations

from collections.abc import Callable

from proxy import match
from proxy.config.model import VirtualHost
from proxy.l7.extra_stats import OTHERS, RequestStats
from proxy.l7.stream import Stream
from proxy.stats import Stats


def virtual_clusters(
    host: VirtualHost, stats: Stats
) -> Callable[[Stream], RequestStats | None] | None:
    """The first whose headers match; None if the host has none."""
    if not host.virtual_clusters:
        return None
    rules = [
        (
            [match.header(matcher) for matcher in each.headers],
            _stats(host, each.name, stats),
        )
        for each in host.virtual_clusters
    ]
    others = _stats(host, OTHERS, stats)

    def find(stream: Stream) -> RequestStats:
        request = stream.request
        for tests, found in rules:
            if all(test(request) for test in tests):
                return found
        return others

    return find


def _stats(host: VirtualHost, name: str, stats: Stats) -> RequestStats:
    return RequestStats(stats, f"vhost.{host.name}.vcluster.{name}.", name)
