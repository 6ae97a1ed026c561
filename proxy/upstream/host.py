"""One endpoint of a cluster: where it is, how it fares, and its connections.

A host keeps its identity and its connections across pushes as long as its address stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proxy.config.model import Endpoint, HealthStatus, SocketAddress

if TYPE_CHECKING:
    from proxy.upstream.pool import Pool

_SERVING = ("UNKNOWN", "HEALTHY")


class Host:
    """Counters carry Envoy's names of `/clusters`. ejected_until: 0 while not ejected.

    since: when it came or was last found healthy, monotonic (slow start). excluded: counts for no
    ratio yet."""

    __slots__ = (
        "active",
        "address",
        "connections",
        "consecutive_5xx",
        "consecutive_gateway",
        "consecutive_local",
        "cx_connect_fail",
        "cx_total",
        "ejected_until",
        "ejections",
        "excluded",
        "health",
        "hostname",
        "locality",
        "metadata",
        "pools",
        "priority",
        "removed",
        "rq_error",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "since",
        "text",
        "tls",
        "weight",
    )

    def __init__(self, address: SocketAddress) -> None:
        self.address = address
        self.text = str(address)
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
        self.excluded = False
        self.ejected_until = 0.0
        self.ejections = 0
        self.consecutive_5xx = 0
        self.consecutive_gateway = 0
        self.consecutive_local = 0
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
        self.locality = locality
        self.priority = priority

    @property
    def healthy(self) -> bool:
        """Envoy's Healthy: EDS says so and outlier detection has not ejected it."""
        return self.health in _SERVING and not self.ejected_until

    @property
    def degraded(self) -> bool:
        """Envoy's Degraded: takes traffic only where healthy hosts can't carry it."""
        return self.health == "DEGRADED" and not self.ejected_until

    def __repr__(self) -> str:
        return f"Host({self.text})"
