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
from proxy.upstream.balance import Picker, by_priority, picker
from proxy.upstream.breaker import Breaker
from proxy.upstream.host import Host
from proxy.upstream.outlier import OutlierDetector
from proxy.upstream.pool import Connection, Exchange, wants_connection

COUNTERS = (
    "upstream_cx_total", "upstream_cx_http1_total", "upstream_cx_connect_fail",
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

    def __getattr__(self, name: str) -> Counter:
        raise AttributeError(name)


class Cluster:
    """`open(cluster, host, breaker)` starts a connection and later calls `on_open` or
    `on_open_failed`. now: the time of the last sweep, good enough for idle timeouts.
    generation: connections of an earlier one are not used again."""

    def __init__(
        self,
        config: ClusterConfig,
        stats: Stats,
        random: Random,
        open_connection: Callable[[Cluster, Host, Breaker], None],
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
        self._open = open_connection
        self._tls_for = tls_for
        self._overprovisioning = 140
        self.pick: Picker = lambda: None
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
            for connection in list(host.idle):
                connection.close()
            host.idle.clear()

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
        self._overprovisioning = assignment.overprovisioning_factor
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
        for connection in list(host.idle):
            connection.close()
        host.idle.clear()

    def close(self) -> None:
        """The cluster is gone from the configuration; exchanges in flight may end."""
        for host in self.hosts:
            self._remove(host)
        self.outlier = None

    def rebuild(self) -> None:
        """Health or membership has changed: choose anew who may be picked."""
        config = self.config
        self.pick = by_priority(
            self.hosts,
            self._overprovisioning,
            config.healthy_panic_threshold,
            lambda hosts: picker(
                config.lb_policy, hosts, self.random, config.least_request_choice_count
            ),
            self.random,
        )
        self.stats.membership_total.value = len(self.hosts)
        self.stats.membership_healthy.value = sum(host.healthy for host in self.hosts)

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
        """Gets `exchange` a connection to `host`, now or later. False: the queue is full."""
        idle = host.idle
        while idle:
            connection = idle.pop()
            if connection.transport is not None:  # its peer may have closed it in this very turn
                connection.begin(exchange)
                exchange.on_connected(connection)
                return True
        stats = self.stats
        if breaker.pending >= breaker.max_pending:
            stats.upstream_rq_pending_overflow.value += 1
            return False
        breaker.pending += 1
        stats.upstream_rq_pending_total.value += 1
        host.pending.append(exchange)
        if wants_connection(host, breaker):
            self._start(host, breaker)
        elif host.connecting < len(host.pending):
            stats.upstream_cx_overflow.value += 1
        return True

    def cancel_pending(self, host: Host, breaker: Breaker, exchange: Exchange) -> None:
        """`exchange` no longer waits for a connection to `host`."""
        try:
            host.pending.remove(exchange)
        except ValueError:
            return
        self._dequeued(breaker)

    def _dequeued(self, breaker: Breaker) -> None:
        breaker.pending -= 1

    def _start(self, host: Host, breaker: Breaker) -> None:
        host.connecting += 1
        breaker.connections += 1
        self.stats.upstream_cx_total.value += 1
        self.stats.upstream_cx_http1_total.value += 1
        host.cx_total += 1
        self._open(self, host, breaker)

    # ------------------------------------------------------------------ connections report

    def on_open(self, connection: Connection, took_ms: float) -> None:
        host = connection.host
        host.connecting -= 1
        host.connections.add(connection)
        self.stats.upstream_cx_connect_ms.record(took_ms)
        self.on_idle(connection)

    def on_open_failed(
        self, host: Host, breaker: Breaker, reason: str, detail: str, timed_out: bool
    ) -> None:
        """All that wait for this host fail with it, unless another connection is on its way."""
        host.connecting -= 1
        host.cx_connect_fail += 1
        breaker.connections -= 1
        stats = self.stats
        stats.upstream_cx_connect_fail.value += 1
        if timed_out:
            stats.upstream_cx_connect_timeout.value += 1
        while host.pending and host.connecting < len(host.pending):
            exchange = host.pending.popleft()
            self._dequeued(exchange.breaker)
            stats.upstream_rq_pending_failure_eject.value += 1
            exchange.on_reset(reason, detail)

    def on_idle(self, connection: Connection) -> None:
        """A connection is free: the first in the queue takes it, or it waits with its host."""
        host = connection.host
        if connection.generation != self.generation:
            connection.close()  # who waits gets one made with the TLS material of now
        elif host.pending:
            exchange = host.pending.popleft()
            self._dequeued(exchange.breaker)
            connection.begin(exchange)
            exchange.on_connected(connection)
        elif host.removed:
            connection.close()
        else:
            host.idle.append(connection)

    def on_closed(self, connection: Connection) -> None:
        host = connection.host
        host.connections.discard(connection)
        if connection in host.idle:
            host.idle.remove(connection)
        connection.breaker.connections -= 1
        self.stats.upstream_cx_destroy.value += 1
        if host.pending and wants_connection(host, host.pending[0].breaker):
            self._start(host, host.pending[0].breaker)

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
        idle_s = self.config.http.idle_timeout_s
        age_s = self.config.http.max_connection_duration_s
        for host in self.hosts:
            for connection in list(host.idle):
                if idle_s and now - connection.idle_since > idle_s:
                    self.stats.upstream_cx_idle_timeout.value += 1
                    connection.close()
                elif age_s and now - connection.opened_at > age_s:
                    connection.close()
