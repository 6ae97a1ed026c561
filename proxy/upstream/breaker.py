"""Circuit breakers: how much one cluster may have in flight (Envoy's thresholds, per priority).

Counts, not rates. What is over a limit is refused at once; nothing queues behind a breaker.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from proxy.config.model import Thresholds

if TYPE_CHECKING:
    from proxy.upstream.host import Host


def _or_none(limit: int | None) -> int:
    """A number to compare with; no limit is one that is never reached."""
    return sys.maxsize if limit is None else limit


class Breaker:
    """What is in flight of one priority, beside its limits. Counts outlive a change of limits."""

    __slots__ = (
        "budget_min",
        "budget_percent",
        "connections",
        "max_connections",
        "max_pending",
        "max_per_host",
        "max_pools",
        "max_requests",
        "max_retries",
        "pending",
        "pools",
        "requests",
        "retries",
    )

    def __init__(self, limits: Thresholds) -> None:
        self.connections = 0
        self.pending = 0
        self.pools = 0
        self.requests = 0
        self.retries = 0
        self.limit(limits)

    def limit(self, limits: Thresholds) -> None:
        self.max_connections = limits.max_connections
        self.max_per_host = _or_none(limits.max_connections_per_host)
        self.max_pools = _or_none(limits.max_connection_pools)
        self.max_pending = limits.max_pending_requests
        self.max_requests = limits.max_requests
        self.max_retries = limits.max_retries
        self.budget_percent = limits.budget_percent
        self.budget_min = limits.budget_min_concurrency

    def connection_allowed(self, host: Host) -> bool:
        if self.connections >= self.max_connections:
            return False
        connecting = sum(pool.connecting for pool in host.pools.values())
        return len(host.connections) + connecting < self.max_per_host

    def retry_allowed(self) -> bool:
        """Another retry now? With a budget: a share of what is in flight, with a floor."""
        if self.budget_percent is None:
            return self.retries < self.max_retries
        in_flight = self.requests + self.pending
        allowed = max(self.budget_percent / 100 * in_flight, self.budget_min)
        return self.retries < allowed
