"""Envoy's `cluster.<name>.*`: all there when somebody looks, made when something happens."""

from __future__ import annotations

from typing import Any, cast

from proxy.stats import Counter, Histogram, Stats, StatusCounts
from proxy.upstream.breaker import OPEN

COUNTERS = (
    "upstream_cx_total", "upstream_cx_http1_total", "upstream_cx_http2_total",
    "upstream_cx_connect_fail", "upstream_cx_pool_overflow", "upstream_cx_close_notify",
    "upstream_cx_destroy_local", "upstream_cx_destroy_remote",
    "upstream_cx_destroy_with_active_rq", "upstream_cx_destroy_local_with_active_rq",
    "upstream_cx_destroy_remote_with_active_rq", "upstream_cx_max_duration_reached",
    "upstream_cx_connect_timeout", "upstream_cx_overflow", "upstream_cx_destroy",
    "upstream_cx_protocol_error", "upstream_cx_rx_bytes_total", "upstream_cx_none_healthy",
    "upstream_cx_idle_timeout", "upstream_cx_max_requests",
    "upstream_rq_total", "upstream_rq_pending_total",
    "upstream_rq_pending_overflow", "upstream_rq_active_overflow",
    "upstream_rq_pending_failure_eject", "upstream_rq_timeout",
    "upstream_rq_per_try_timeout", "upstream_rq_rx_reset", "upstream_rq_tx_reset",
    "upstream_rq_cancelled", "upstream_rq_retry", "upstream_rq_retry_success",
    "upstream_rq_retry_limit_exceeded", "upstream_rq_retry_overflow",
    "upstream_rq_retry_backoff_exponential", "upstream_rq_retry_backoff_ratelimited",
    "upstream_rq_per_try_idle_timeout", "retry_or_shadow_abandoned",
    "membership_change", "update_success", "update_attempt", "update_failure", "update_empty",
    "update_no_rebuild", "assignment_stale", "assignment_timeout_received",
    "lb_healthy_panic", "lb_local_cluster_not_ok", "lb_recalculate_zone_structures",
    "lb_subsets_created", "lb_subsets_removed", "lb_subsets_selected", "lb_subsets_fallback",
    "lb_subsets_fallback_panic", "lb_zone_cluster_too_small", "lb_zone_no_capacity_left",
    "lb_zone_routing_all_directly", "lb_zone_routing_sampled", "lb_zone_routing_cross_zone",
    "original_dst_host_invalid", "upstream_rq_completed",
    "upstream_cx_tx_bytes_total",
)  # fmt: skip
IN_FLIGHT = {
    "upstream_cx_active": "connections",
    "upstream_rq_active": "requests",
    "upstream_rq_pending_active": "pending",
}
"""Gauges, and what of the breakers they are the sum of."""
GAUGES = (
    *IN_FLIGHT,
    "membership_total", "membership_healthy", "membership_degraded", "membership_excluded",
    *(f"circuit_breakers.{priority}.{name}" for priority in ("default", "high") for name in OPEN),
)  # fmt: skip
NOTHING_YET = Counter()
"""What a counter shows that nobody has made; never counted up."""


class ClusterStats:
    """Each an attribute of its own name, made when it is first asked for."""

    upstream_cx_rx_bytes_total: Counter
    upstream_rq_total: Counter
    upstream_rq_time: Histogram
    upstream_cx_connect_ms: Histogram
    statuses: StatusCounts

    def __init__(self, stats: Stats, prefix: str) -> None:
        self._stats = stats
        self._prefix = prefix

    def detach(self) -> None:
        """The cluster is gone: what its last exchanges count is seen by nobody."""
        self._stats = Stats()

    def __getattr__(self, name: str) -> Counter:
        stats, full = self._stats, self._prefix + name
        made: Any
        if name in COUNTERS:
            made = stats.counter(full)
        elif name in ("upstream_rq_time", "upstream_cx_connect_ms"):
            made = stats.histogram(full)
        elif name == "statuses":
            made = stats.statuses(self._prefix + "upstream_rq_", single=True)
        else:
            raise AttributeError(name)
        setattr(self, name, made)
        return cast(Counter, made)  # what is none is annotated above

    def add(self, name: str, more: int = 1) -> None:
        """Counts what is rare."""
        self._stats.counter(self._prefix + name).value += more

    def count_destroyed(self, by_peer: bool, busy: bool) -> None:
        """A connection is gone. busy: and took an exchange with it."""
        side = "remote" if by_peer else "local"
        self.upstream_cx_destroy.value += 1
        getattr(self, f"upstream_cx_destroy_{side}").value += 1
        if busy:
            self.upstream_cx_destroy_with_active_rq.value += 1
            getattr(self, f"upstream_cx_destroy_{side}_with_active_rq").value += 1
