"""Circuit breakers: how much one cluster may have in flight (Envoy's thresholds, per priority).

Counts, not rates. What is over a limit is refused at once; nothing queues behind a breaker.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from proxy.config.model import Thresholds
from proxy.stats import Stats

if TYPE_CHECKING:
    from proxy.upstream.host import Host


def _or_none(limit: int | None) -> int:
    """A number to compare with; no limit is one that is never reached."""
    return sys.maxsize if limit is None else limit


OPEN = {
    "cx_open": ("connections", "max_connections"),
    "cx_pool_open": ("pools", "max_pools"),
    "rq_pending_open": ("pending", "max_pending"),
    "rq_open": ("requests", "max_requests"),
    "rq_retry_open": ("retries", "max_retries"),
}
"""Gauges, each with a count and its limit."""


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

    def retry_allowed(self, asking: int = 0) -> bool:
        """Another retry now? With a budget: a share of what is in flight, with a floor.

        asking: 1 if who asks is in flight no more; it counts all the same (Envoy)."""
        if self.budget_percent is None:
            return self.retries < self.max_retries
        in_flight = self.requests + self.pending + asking
        return self.retries < max(int(self.budget_percent / 100 * in_flight), self.budget_min)

    def is_open(self, name: str) -> int:
        """Envoy's `circuit_breakers.<priority>.<name>`, one of OPEN: 1 when nothing more may come.
        Of a retry budget Envoy tells the count of `max_retries` all the same."""
        return self._is_full(*OPEN[name])

    def derive_remaining(self, stats: Stats, prefix: str) -> None:
        """`track_remaining`: what is left of each limit."""
        for name, count, most in (
            ("remaining_cx", "connections", "max_connections"),
            ("remaining_cx_pools", "pools", "max_pools"),
            ("remaining_pending", "pending", "max_pending"),
            ("remaining_rq", "requests", "max_requests"),
            ("remaining_retries", "retries", "max_retries"),
        ):
            stats.derive_gauge(f"{prefix}{name}", partial(self._remaining, count, most))

    def _is_full(self, count: str, most: str) -> int:
        found: int = getattr(self, count)
        return int(found > 0 and found >= getattr(self, most))

    def _remaining(self, count: str, most: str) -> int:
        left: int = getattr(self, most) - getattr(self, count)
        return max(0, left)
