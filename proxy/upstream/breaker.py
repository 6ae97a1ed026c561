"""Circuit breakers: how much one cluster may have in flight (Envoy's thresholds, per priority).

Counts, not rates. What is over a limit is refused at once; nothing queues behind a breaker.
"""

from __future__ import annotations

from proxy.config.model import Thresholds


class Breaker:
    """What is in flight of one priority, beside its limits. Counts outlive a change of limits."""

    __slots__ = (
        "budget_min",
        "budget_percent",
        "connections",
        "max_connections",
        "max_pending",
        "max_requests",
        "max_retries",
        "pending",
        "requests",
        "retries",
    )

    def __init__(self, limits: Thresholds) -> None:
        self.connections = 0
        self.pending = 0
        self.requests = 0
        self.retries = 0
        self.limit(limits)

    def limit(self, limits: Thresholds) -> None:
        self.max_connections = limits.max_connections
        self.max_pending = limits.max_pending_requests
        self.max_requests = limits.max_requests
        self.max_retries = limits.max_retries
        self.budget_percent = limits.budget_percent
        self.budget_min = limits.budget_min_concurrency

    def retry_allowed(self) -> bool:
        """Another retry now? With a budget: a share of what is in flight, with a floor."""
        if self.budget_percent is None:
            return self.retries < self.max_retries
        in_flight = self.requests + self.pending
        allowed = max(self.budget_percent / 100 * in_flight, self.budget_min)
        return self.retries < allowed
