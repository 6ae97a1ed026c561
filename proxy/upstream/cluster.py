"""A cluster at run time: its hosts, who may be picked, what is in flight, what was counted.

Made from a `config.Cluster` by `compile` and updated in place by later ones, so that hosts,
connections and counters outlive a push. Opening connections is `connect`'s part.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import monotonic

from proxy.config.model import Cluster as ClusterConfig
from proxy.config.model import ClusterLoadAssignment, Endpoint, SocketAddress
from proxy.stats import Counter, Stats
from proxy.upstream.balance import ContextPicker, Picker
from proxy.upstream.breaker import Breaker
from proxy.upstream.choosing import Choosing
from proxy.upstream.host import Host
from proxy.upstream.outlier import OutlierDetector
from proxy.upstream.pool import Exchange, Pool
from proxy.upstream.way import Way, chooser, the_way

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
    "upstream_rq_pending_overflow", "upstream_rq_pending_failure_eject", "upstream_rq_timeout",
    "upstream_rq_per_try_timeout", "upstream_rq_rx_reset", "upstream_rq_tx_reset",
    "upstream_rq_cancelled", "upstream_rq_retry", "upstream_rq_retry_success",
    "upstream_rq_retry_limit_exceeded", "upstream_rq_retry_overflow",
    "membership_change", "update_success",
)  # fmt: skip
GAUGES = (
    "membership_total",
    "membership_healthy", "membership_degraded", "membership_excluded",
)  # fmt: skip


class ClusterStats:
    """Envoy's `cluster.<name>.*`, each an attribute of its own name."""

    upstream_cx_rx_bytes_total: Counter
    upstream_rq_total: Counter

    def __init__(self, stats: Stats, prefix: str) -> None:
        for name in COUNTERS:
            setattr(self, name, stats.counter(prefix + name))
        for name in GAUGES:
            setattr(self, name, stats.gauge(prefix + name))
        self.upstream_rq_time = stats.histogram(prefix + "upstream_rq_time")
        self.upstream_cx_connect_ms = stats.histogram(prefix + "upstream_cx_connect_ms")
        self.statuses = stats.statuses(prefix + "upstream_rq_", single=True)

    def count_destroyed(self, by_peer: bool, busy: bool) -> None:
        """A connection is gone. busy: and took an exchange with it."""
        side = "remote" if by_peer else "local"
        self.upstream_cx_destroy.value += 1
        getattr(self, f"upstream_cx_destroy_{side}").value += 1
        if busy:
            self.upstream_cx_destroy_with_active_rq.value += 1
            getattr(self, f"upstream_cx_destroy_{side}_with_active_rq").value += 1

    def __getattr__(self, name: str) -> Counter:
        raise AttributeError(name)


class Cluster:
    """`open(pool)` starts a connection and later calls the pool's `on_open` or `on_open_failed`.
    now: the time of the last sweep, good enough for idle timeouts. generation: connections of an
    earlier one are not used again."""

    def __init__(
        self,
        config: ClusterConfig,
        stats: Stats,
        random: Random,
        open_connection: Callable[[Pool], None],
        tls_for: Callable[[Host], object],
    ) -> None:
        self.name = config.name
        self.prefix = f"cluster.{(config.alt_stat_name or config.name).replace(':', '_')}."
        self.stats = ClusterStats(stats, self.prefix)
        self.all_stats = stats
        self.config = config
        self.generation = 0
        self.random = random
        self.now = monotonic()
        self.hosts: list[Host] = []
        self.breakers = {
            "DEFAULT": Breaker(config.thresholds_default),
            "HIGH": Breaker(config.thresholds_high),
        }
        self._derive_gauges(stats)
        self.outlier: OutlierDetector | None = None
        self.open = open_connection
        self.foresight: Callable[[Exchange], None] | None = None
        self._tls_for = tls_for
        self.choosing = Choosing(stats, self.prefix, random, self._in_flight)
        self.pick: Picker = lambda: None
        self.pick_for: ContextPicker | None = None
        self.configure(config, tls_for)

    def _derive_gauges(self, stats: Stats) -> None:
        """What is in flight stands in the breakers already."""
        default, high = self.breakers["DEFAULT"], self.breakers["HIGH"]
        for gauge, of in (
            ("upstream_cx_active", lambda: default.connections + high.connections),
            ("upstream_rq_active", lambda: default.requests + high.requests),
            ("upstream_rq_pending_active", lambda: default.pending + high.pending),
        ):
            stats.derive_gauge(self.prefix + gauge, of)

    # ------------------------------------------------------------------ configuration

    def configure(
        self, config: ClusterConfig, tls_for: Callable[[Host], object] | None = None
    ) -> None:
        """A new version of the same cluster. tls_for: None if the TLS material is the same."""
        self.config = config
        self._way = the_way(config.http)
        self._choose_way = chooser(config.http)
        if tls_for is not None:
            self._tls_for = tls_for
        self.breakers["DEFAULT"].limit(config.thresholds_default)
        self.breakers["HIGH"].limit(config.thresholds_high)
        if config.outlier is None:
            for host in self.hosts:
                if host.ejected_until and self.outlier is not None:
                    self.outlier.forgive(host)
            self.outlier = None
        elif self.outlier is None or self.outlier.config != config.outlier:
            self.outlier = OutlierDetector(config.outlier, self.all_stats, self.prefix)
        for host in self.hosts:
            host.tls = self._tls_for(host)
        self.rebuild()

    def retire_connections(self) -> None:
        """Idle connections close now, busy ones after their exchange: TLS material has changed."""
        self.generation += 1
        for host in self.hosts:
            for pool in list(host.pools.values()):
                pool.retire()

    def set_endpoints(self, assignment: ClusterLoadAssignment) -> None:
        """The whole membership. Hosts whose address stays keep connections and health."""
        known = {host.address: host for host in self.hosts}
        fresh: dict[SocketAddress, Host] = {}
        for group in assignment.localities:
            for endpoint in group.endpoints:
                address = endpoint.address
                if address not in fresh:
                    fresh[address] = known.get(address) or Host(address)
                    fresh[address].describe(endpoint, group.locality, group.priority)
                    fresh[address].tls = self._tls_for(fresh[address])
        self._take_policy(assignment)
        self._replace_hosts(known, fresh)

    def set_addresses(self, found: list[tuple[SocketAddress, Endpoint, tuple[str, str, str], int]]
                      ) -> None:  # fmt: skip
        """The whole membership as DNS gave it: address, its endpoint, locality and priority."""
        known = {host.address: host for host in self.hosts}
        fresh: dict[SocketAddress, Host] = {}
        for address, endpoint, locality, priority in found:
            if address not in fresh:
                fresh[address] = known.get(address) or Host(address)
                fresh[address].describe(endpoint, locality, priority)
                fresh[address].tls = self._tls_for(fresh[address])
        self._replace_hosts(known, fresh)

    def _replace_hosts(
        self, known: dict[SocketAddress, Host], fresh: dict[SocketAddress, Host]
    ) -> None:
        self.hosts = list(fresh.values())
        for address, host in known.items():
            if address not in fresh:
                self._remove(host)
        if known.keys() != fresh.keys():
            self.stats.membership_change.value += 1
        self.stats.update_success.value += 1
        self.rebuild()

    def _remove(self, host: Host) -> None:
        host.removed = True
        if host.ejected_until and self.outlier is not None:
            self.outlier.forgive(host)
        for pool in list(host.pools.values()):
            pool.retire()

    def close(self) -> None:
        """The cluster is gone from the configuration; exchanges in flight may end."""
        for host in self.hosts:
            self._remove(host)
        self.outlier = None

    def rebuild(self) -> None:
        """Health or membership has changed: choose anew who may be picked."""
        config = self.config
        made = self.choosing.build(config.lb, self.hosts, config.healthy_panic_threshold)
        self.balancer, self.pick, self.pick_for = made, made.pick, made.pick_for
        self.stats.membership_total.value = len(self.hosts)
        self.stats.membership_healthy.value = sum(host.healthy for host in self.hosts)
        self.stats.membership_degraded.value = sum(host.degraded for host in self.hosts)
        self.stats.membership_excluded.value = sum(host.excluded for host in self.hosts)

    def _take_policy(self, assignment: ClusterLoadAssignment) -> None:
        """How localities and priorities share the load, as the endpoints came with it."""
        self.choosing.overprovisioning = assignment.overprovisioning_factor
        self.choosing.weights = {
            (group.priority, group.locality): group.weight or 0 for group in assignment.localities
        }

    def _in_flight(self) -> int:
        return sum(breaker.requests for breaker in self.breakers.values())

    # ------------------------------------------------------------------ on the way of a request

    def pick_other(self, tried: list[Host], attempts: int) -> Host | None:
        """A host by the policy, not one of `tried` (Envoy's previous_hosts predicate) if one of
        `attempts` picks finds another."""
        host = self.pick()
        for _ in range(attempts):
            if host not in tried:
                break
            host = self.pick()
        return host

    def lease(self, host: Host, breaker: Breaker, exchange: Exchange) -> bool:
        """Gets `exchange` a connection to `host`, now or later. False: a limit forbids it."""
        choose = self._choose_way
        if choose is None:
            pool = host.pools.get(breaker)
            way = self._way
        else:
            way = choose(exchange.request)
            pool = host.pools.get((breaker, way))
        if pool is None:
            pool = self._new_pool(host, breaker, way)
            if pool is None:
                return False
        if self.foresight is not None:
            self.foresight(exchange)
        return pool.lease(exchange)

    def _new_pool(self, host: Host, breaker: Breaker, way: Way) -> Pool | None:
        """None: there are as many as `max_connection_pools` allows."""
        if breaker.pools >= breaker.max_pools:
            self.stats.upstream_cx_pool_overflow.value += 1
            return None
        breaker.pools += 1
        key = breaker if self._choose_way is None else (breaker, way)
        pool = host.pools[key] = Pool(self, host, breaker, way, key)
        return pool

    def cancel_pending(self, host: Host, breaker: Breaker, exchange: Exchange) -> None:
        """`exchange` no longer waits for a connection to `host`."""
        for pool in host.pools.values():
            if pool.breaker is breaker and pool.cancel(exchange):
                return

    # ------------------------------------------------------------------ outcomes and time

    def on_status(self, host: Host, status: int, now: float) -> None:
        """An attempt was answered."""
        if status < 500:
            host.rq_success += 1
            if not host.consecutive_5xx and not host.consecutive_local:
                return
        else:
            host.rq_error += 1
        outlier = self.outlier
        if outlier is None:
            return
        if outlier.on_response(host, status, len(self.hosts), self._ejected(), now):
            self.rebuild()

    def on_local_error(self, host: Host, now: float) -> None:
        """An attempt was lost: no connection, reset or timed out."""
        host.rq_error += 1
        outlier = self.outlier
        if outlier is not None and outlier.on_local_error(
            host, len(self.hosts), self._ejected(), now
        ):
            self.rebuild()

    def _ejected(self) -> int:
        return sum(1 for host in self.hosts if host.ejected_until)

    def sweep(self, now: float) -> None:
        """Once a second or so: ejections that are over, connections idle for too long."""
        self.now = now
        if self.outlier is not None and self.outlier.due_back(self.hosts, now):
            self.rebuild()
        http = self.config.http
        for host in self.hosts:
            for pool in list(host.pools.values()):
                pool.sweep(now, http.idle_timeout_s, http.max_connection_duration_s)
