"""Active health checks, the decisions: what a result means for a host, and when to ask again.

    unchecked -> well <-> ill

A host begins as ill (or as well, if it served before there were these checks), and its first result
decides at once; later it takes `healthy_threshold` good ones, or `unhealthy_threshold` bad ones the
other way. An answer that is wrong makes ill at once, unless its status is a retriable one; what the
network did counts.
Asking, and the clock, are `health`'s part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from proxy.config.model import HealthCheck
from proxy.stats import Stats
from proxy.upstream.host import Host

Failure = Literal["ACTIVE", "PASSIVE", "NETWORK", "NETWORK_TIMEOUT"]
_OF_NETWORK = ("NETWORK", "NETWORK_TIMEOUT")


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """kind: Envoy's name of the event. failure: why, '' where nothing failed. status: of an HTTP
    answer that was wrong, else 0."""

    host: Host
    kind: Literal[
        "eject_unhealthy_event",
        "add_healthy_event",
        "successful_health_check_event",
        "health_check_failure_event",
        "degraded_healthy_host",
        "no_longer_degraded_host",
    ]
    failure: Failure | Literal[""] = ""
    first: bool = False
    status: int = 0


class CheckStats:
    """Envoy's `cluster.<name>.health_check.*`."""

    __slots__ = (
        "attempt",
        "degraded",
        "failure",
        "healthy",
        "network_failure",
        "passive_failure",
        "success",
        "verify_cluster",
    )

    def __init__(self, stats: Stats, prefix: str) -> None:
        prefix = f"{prefix}health_check."
        self.attempt = stats.counter(f"{prefix}attempt")
        self.success = stats.counter(f"{prefix}success")
        self.failure = stats.counter(f"{prefix}failure")
        self.network_failure = stats.counter(f"{prefix}network_failure")
        self.passive_failure = stats.counter(f"{prefix}passive_failure")
        self.verify_cluster = stats.counter(f"{prefix}verify_cluster")
        self.healthy = stats.gauge(f"{prefix}healthy")
        self.degraded = stats.gauge(f"{prefix}degraded")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the checkers of one cluster share. has_traffic: it was ever connected to. on_change: a
    host is to be looked at anew. on_success: a host that is well has shown it again. log: gets
    every event."""

    config: HealthCheck
    stats: CheckStats
    random: Random
    has_traffic: Callable[[], bool]
    on_change: Callable[[Host], None]
    on_success: Callable[[Host], None]
    log: Callable[[HealthEvent], None]


class HostChecker:
    """What the checks of one host have come to. Results give the seconds until the next check."""

    __slots__ = ("_around", "_bad", "_good", "first", "host")

    def __init__(self, host: Host, around: Surroundings) -> None:
        self.host = host
        self._around = around
        self._good = self._bad = 0
        self.first = True
        if not host.failed:
            around.stats.healthy.value += 1
        if host.degraded_by_check:
            around.stats.degraded.value += 1

    def leave(self) -> None:
        """The host is no longer checked."""
        stats = self._around.stats
        if not self.host.failed:
            stats.healthy.value -= 1
        if self.host.degraded_by_check:
            stats.degraded.value -= 1

    # ------------------------------------------------------------------ results

    def on_good(self, degraded: bool) -> float:
        around, host = self._around, self.host
        self._bad = 0
        changed = pending = False
        if host.failed:
            self._good += 1
            changed = self.first or self._good == around.config.healthy_threshold
            pending = not changed
        if changed:
            self._become_well()
        elif around.config.always_log_success:
            around.log(HealthEvent(host, "successful_health_check_event"))
        changed = self._is_checked() or changed
        if degraded != host.degraded_by_check:
            self._become_degraded(degraded)
            changed = changed or not pending
        around.stats.success.value += 1
        self.first = False
        if changed:
            around.on_change(host)
        if not host.failed:
            around.on_success(host)
        return self.interval_s(True, pending and not changed)

    def _become_well(self) -> None:
        host, around = self.host, self._around
        host.failed = host.timed_out = host.failed_at_once = False
        around.stats.healthy.value += 1
        around.log(HealthEvent(host, "add_healthy_event", first=self.first))

    def _become_degraded(self, degraded: bool) -> None:
        host, around = self.host, self._around
        host.degraded_by_check = degraded
        around.stats.degraded.value += 1 if degraded else -1
        kind: Literal["degraded_healthy_host", "no_longer_degraded_host"]
        kind = "degraded_healthy_host" if degraded else "no_longer_degraded_host"
        around.log(HealthEvent(host, kind))

    def _is_checked(self) -> bool:
        """True if this was what the host has waited for."""
        waited, self.host.unchecked = self.host.unchecked, False
        return waited

    def on_bad(self, why: Failure, retriable: bool = False, status: int = 0) -> float:
        around, host = self._around, self.host
        self._good = 0
        changed = pending = False
        if not host.failed:
            counts = (retriable or why in _OF_NETWORK) and not self.first
            if counts:
                self._bad += 1
            changed = not counts or self._bad == around.config.unhealthy_threshold
            pending = not changed
        if changed:
            host.failed = True
            around.stats.healthy.value -= 1
            around.log(HealthEvent(host, "eject_unhealthy_event", why, status=status))
        host.timed_out = host.failed and why == "NETWORK_TIMEOUT"
        changed = self._is_checked() or changed
        if self.first or around.config.always_log_failures:
            kind: Literal["health_check_failure_event"] = "health_check_failure_event"
            around.log(HealthEvent(host, kind, why, self.first, status))
        self._count(why)
        self.first = False
        if changed:
            around.on_change(host)
        return self.interval_s(False, pending and not changed)

    def _count(self, why: Failure) -> None:
        stats = self._around.stats
        stats.failure.value += 1
        if why in _OF_NETWORK:
            stats.network_failure.value += 1
        elif why == "PASSIVE":
            stats.passive_failure.value += 1

    def fail_at_once(self) -> None:
        """An answer to a request said that the host is ill (x-envoy-immediate-health-check-fail).
        The next check comes when it would have come anyway."""
        self.host.failed_at_once = True
        self.on_bad("PASSIVE")

    # ------------------------------------------------------------------ when

    def interval_s(self, good: bool, pending: bool) -> float:
        """pending: one more result of this kind, or a few, will change the host."""
        config = self._around.config
        if not self._around.has_traffic():
            settled = good and not pending
            base_s = (
                config.no_traffic_healthy_interval_s if settled else config.no_traffic_interval_s
            )
        elif good:
            base_s = config.healthy_edge_interval_s if pending else config.interval_s
        else:
            base_s = config.unhealthy_edge_interval_s if pending else config.unhealthy_interval_s
        return self._jittered_s(base_s, config.interval_jitter_s)

    def first_wait_s(self) -> float:
        jitter_s = self._around.config.initial_jitter_s
        return self._jittered_s(0.0, jitter_s) if jitter_s else 0.0

    def _jittered_s(self, base_s: float, jitter_s: float) -> float:
        """Whole milliseconds, at least one (Envoy)."""
        random = self._around.random
        base_ms, jitter_ms = int(base_s * 1000), int(jitter_s * 1000)
        percent_ms = self._around.config.interval_jitter_percent * base_ms // 100
        if percent_ms:
            base_ms += random.randrange(percent_ms)
        if jitter_ms:
            base_ms += random.randrange(jitter_ms)
        return max(1, base_ms) / 1000
