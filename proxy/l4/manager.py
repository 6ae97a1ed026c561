"""What all connections of one TCP filter chain share: configuration, statistics, where they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from math import inf
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from xxhash import xxh64_intdigest

from proxy.config.model import TcpProxy
from proxy.demand import Demand
from proxy.l4.guard import Guards
from proxy.l4.record import Chain, ConnectionRecord
from proxy.l4.tunnel import Tunnels
from proxy.stats import Counter, Stats
from proxy.upstream.asking import CallLater

if TYPE_CHECKING:
    from proxy.l4.meter import Meter
    from proxy.l4.tcp import DownstreamTcp
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.tcp import OpenTcp

# Envoy's --drain-time-s: how long connections of a removed listener may go on.
DRAIN_TIME_S = 600.0

COUNTERS = (
    "downstream_cx_total", "downstream_cx_no_route", "downstream_cx_rx_bytes_total",
    "downstream_cx_tx_bytes_total", "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total", "idle_timeout",
    "max_downstream_connection_duration", "upstream_flush_total",
)  # fmt: skip


ON_DEMAND = tuple(
    f"on_demand_cluster_{how}" for how in ("attempt", "missing", "success", "timeout")
)


class TcpStats:
    """Envoy's `tcp.<stat_prefix>.*`, each an attribute of its own name."""

    def __init__(self, stats: Stats, stat_prefix: str, on_demand: bool) -> None:
        prefix = f"tcp.{stat_prefix}."
        for name in (*COUNTERS, *(ON_DEMAND if on_demand else ())):
            setattr(self, name, stats.counter(prefix + name))
        self.upstream_flush_active = stats.gauge(f"{prefix}upstream_flush_active")

    def __getattr__(self, name: str) -> Counter:
        raise AttributeError(name)


class BySourceIp:
    """What a balancer that hashes asks a route about: all connections of a client are alike."""

    metadata_match: Mapping[str, Any] = MappingProxyType({})

    @property
    def hash(self) -> Callable[[Any], int | None]:
        return lambda connection: xxh64_intdigest(connection.info.remote[0].encode())


BY_SOURCE_IP: Final = BySourceIp()


class TcpConnections:
    """Every TCP connection of the proxy, looked through about once a second."""

    def __init__(self) -> None:
        self.live: set[DownstreamTcp] = set()

    def sweep(self, now: float) -> None:
        for connection in list(self.live):
            connection.sweep(now)


class TcpManager:
    """log: called with each connection's record at its end. clusters: the running ones, by name.
    meter: makes Istio's metrics, None if nobody wants any.
    drained_at: when those that are left are closed (monotonic), 0 for never. guards: who looks at
    connections first, None if nobody does. tunnels: how the cluster's hosts let bytes through, if
    not as they are. demand: where connections wait for a cluster that is missing, None if none
    does."""

    def __init__(
        self,
        config: TcpProxy,
        connections: TcpConnections,
        stats: Stats,
        clusters: Mapping[str, Cluster],
        random: Random,
        open_tcp: OpenTcp,
        loggers: tuple[Callable[[ConnectionRecord], None], ...],
        own_uri: bytes,
        buffer_limit_bytes: int,
        guards: Guards | None,
        call_later: CallLater,
        tunnels: Tunnels | None = None,
        demand: Demand | None = None,
    ) -> None:
        self.config = config
        self.connections = connections
        self.stats = TcpStats(stats, config.stat_prefix, config.on_demand_s is not None)
        self.open_tcp = open_tcp
        self.loggers = loggers
        self.chain = Chain(own_uri)
        self.buffer_limit_bytes = buffer_limit_bytes
        self.guards = guards
        self.call_later = call_later
        self.tunnels = tunnels
        self.meter: Meter | None = None
        self.demand = demand if config.on_demand_s is not None else None
        self.drained_at = 0.0
        self.route = BY_SOURCE_IP if config.by_source_ip else None
        self._clusters = clusters
        self._random = random
        self._names = [name for name, _ in config.weighted]
        self._cumulative = list(accumulate(weight for _, weight in config.weighted))

    def drain(self, now: float) -> None:
        """The listener is gone or is to take no more: what lives may go on for a while."""
        self.drained_at = self.drained_at or now + DRAIN_TIME_S

    def ends_at(self, started: float) -> float:
        """When a connection is closed that began then; infinity where nothing says so."""
        longest_s, jitter = self.config.max_duration_s, self.config.jitter_percent / 100
        if not longest_s:
            return inf
        return started + longest_s * (1.0 + (self._random.random() * jitter if jitter else 0.0))

    def choose(self) -> str:
        """The name of the cluster of the next connection, by weight if there are several."""
        if not self._names:
            return self.config.cluster
        (name,) = self._random.choices(self._names, cum_weights=self._cumulative)
        return name

    def cluster(self, name: str) -> Cluster | None:
        """None if it is missing."""
        return self._clusters.get(name)
