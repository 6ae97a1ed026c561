"""One endpoint of a cluster: where it is, how it fares, and its connections.

A host keeps its identity and its connections across pushes as long as its address stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proxy.config.model import Endpoint, EndpointCheck, HealthStatus, SocketAddress

if TYPE_CHECKING:
    from proxy.upstream.balance.peak_ewma import Latency
    from proxy.upstream.health_check import HostChecker
    from proxy.upstream.outlier import HostMonitor
    from proxy.upstream.pool import Pool

_SERVING = ("UNKNOWN", "HEALTHY")
_TAKING = (*_SERVING, "DEGRADED")


class Host:
    """Counters carry Envoy's names of `/clusters`.

    others: further addresses to try when the first does not answer (`additional_addresses`).
    since: when it came or was last found healthy, monotonic (slow start). monitor: of outlier
    detection, None without. ejected: that has taken it out. checker: of active health checks, None
    without; failed, timed_out, degraded_by_check: what they have found. unchecked: waits for its
    first health check and is not counted until then. failed_at_once: an answer of its own said so
    (x-envoy-immediate-health-check-fail). leaving: no longer in the configuration, but checks find
    it well. latency: of peak-EWMA, None without."""

    __slots__ = (
        "active",
        "address",
        "check_config",
        "checker",
        "connections",
        "cx_connect_fail",
        "cx_total",
        "degraded_by_check",
        "ejected",
        "failed",
        "failed_at_once",
        "health",
        "home",
        "hostname",
        "latency",
        "leaving",
        "locality",
        "metadata",
        "monitor",
        "others",
        "pools",
        "priority",
        "removed",
        "rq_error",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "since",
        "text",
        "timed_out",
        "tls",
        "unchecked",
        "weight",
    )

    def __init__(self, address: SocketAddress) -> None:
        self.address = address
        self.others: tuple[SocketAddress, ...] = ()
        self.text = str(address)
        self.home: object = None  # the Cluster that it was picked from by an aggregate
        self.hostname = ""
        self.weight = 1
        self.health: HealthStatus = "UNKNOWN"
        self.locality = ("", "", "")
        self.priority = 0
        self.metadata: Mapping[str, Mapping[str, Any]] = {}
        self.tls: object = None  # the ClientTls to connect with, chosen by the cluster
        self.connections: set[object] = set()  # of HTTP or of TCP
        self.pools: dict[object, Pool] = {}
        self.active = 0
        self.removed = False
        self.since = 0.0
        self.unchecked = False
        self.monitor: HostMonitor | None = None
        self.latency: Latency | None = None
        self.ejected = False
        self.checker: HostChecker | None = None
        self.check_config: EndpointCheck | None = None
        self.failed = self.timed_out = self.degraded_by_check = False
        self.failed_at_once = self.leaving = False
        self.cx_total = 0
        self.cx_connect_fail = 0
        self.rq_total = 0
        self.rq_success = 0
        self.rq_error = 0
        self.rq_timeout = 0

    def describe(self, endpoint: Endpoint, locality: tuple[str, str, str], priority: int) -> None:
        self.hostname = endpoint.hostname
        self.weight = endpoint.weight
        self.health = endpoint.health
        self.metadata = endpoint.metadata
        self.check_config = endpoint.check
        self.others = endpoint.additional_addresses
        self.locality = locality
        self.priority = priority

    def move(self, addresses: tuple[SocketAddress, ...]) -> None:
        """It is the same host elsewhere (LOGICAL_DNS): what connects from now on goes there."""
        self.address, self.others = addresses[0], addresses[1:]
        self.text = str(self.address)

    @property
    def healthy(self) -> bool:
        """Envoy's Healthy: nobody says anything against it."""
        well = self.health in _SERVING and not self.ejected and not self.failed
        return well and not self.degraded_by_check

    @property
    def degraded(self) -> bool:
        """Envoy's Degraded: takes traffic only where healthy hosts can't carry it."""
        out = self.ejected or self.failed or self.health not in _TAKING
        return not out and (self.degraded_by_check or self.health == "DEGRADED")

    @property
    def status(self) -> HealthStatus:
        """Envoy's health status in EDS's words, with what checks and outlier detection found."""
        if self.ejected or self.failed:
            return "UNHEALTHY"
        if self.health in _TAKING and self.degraded_by_check:
            return "DEGRADED"
        return self.health

    @property
    def excluded(self) -> bool:
        """Envoy's Excluded: neither well nor ill, it counts for no ratio of healthy hosts."""
        return self.unchecked or self.failed_at_once or self.health == "DRAINING"

    def __repr__(self) -> str:
        return f"Host({self.text})"
