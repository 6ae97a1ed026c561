"""What a connection manager counts: Envoy's `http.<stat_prefix>.*`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.stats import Counter, Gauge, Stats

COUNTERS = (
    "downstream_cx_total", "downstream_cx_http1_total", "downstream_cx_http2_total",
    "downstream_cx_ssl_total",
    "downstream_cx_destroy", "downstream_cx_rx_bytes_total", "downstream_cx_protocol_error",
    "downstream_cx_idle_timeout", "downstream_cx_max_duration_reached",
    "downstream_cx_max_requests_reached", "downstream_rq_too_many_premature_resets",
    "downstream_rq_total", "downstream_rq_http2_total", "downstream_rq_rx_reset",
    "downstream_rq_tx_reset",
    "downstream_rq_max_duration_reached",
    "downstream_rq_timeout", "downstream_rq_idle_timeout", "downstream_rq_header_timeout",
    "downstream_cx_upgrades_total", "downstream_rq_ws_on_non_ws_route",
    "passthrough_internal_redirect_bad_location", "passthrough_internal_redirect_unsafe_scheme",
    "passthrough_internal_redirect_too_many_redirects", "passthrough_internal_redirect_no_route",
    "passthrough_internal_redirect_predicate",
    "no_route", "no_cluster", "rq_direct_response", "rq_redirect",
)  # fmt: skip
GAUGES = (
    "downstream_cx_active", "downstream_cx_http1_active", "downstream_cx_http2_active",
    "downstream_cx_ssl_active", "downstream_cx_upgrades_active",
)  # fmt: skip


class ManagerStats:
    """Envoy's `http.<stat_prefix>.*`, each an attribute of its own name."""

    downstream_cx_active: Gauge
    downstream_cx_http1_active: Gauge
    downstream_cx_http2_active: Gauge
    downstream_cx_ssl_active: Gauge
    downstream_cx_upgrades_active: Gauge

    def __init__(self, stats: Stats, stat_prefix: str) -> None:
        prefix = f"http.{stat_prefix}."
        for name in COUNTERS:
            setattr(self, name, stats.counter(prefix + name))
        for name in GAUGES:
            setattr(self, name, stats.gauge(prefix + name))
        self.downstream_rq_time = stats.histogram(prefix + "downstream_rq_time")
        self.statuses = stats.statuses(prefix + "downstream_rq_", single=False)
        stats.derive(prefix + "rq_total", self._routed)
        self.unrouted = 0
        stats.derive(prefix + "downstream_rq_http1_total", self._http1)
        self.unanswered = 0
        self.legs = 0
        stats.derive_gauge(prefix + "downstream_rq_active", self._active)

    def _active(self) -> int:
        ended = self.statuses.final() + self.unanswered + self.legs
        return self.downstream_rq_total.value - ended

    def _routed(self) -> int:
        """`rq_total` is the router's: what came as far as that."""
        return self.downstream_rq_total.value - self.unrouted

    def _http1(self) -> int:
        return self.downstream_rq_total.value - self.downstream_rq_http2_total.value

    if TYPE_CHECKING:  # at run time it would make each look-up slower

        def __getattr__(self, name: str) -> Counter: ...
