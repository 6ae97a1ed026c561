"""A cluster at run time: its hosts, who may be picked, what is in flight, what was counted.

Made from a `config.Cluster` by `compile` and updated in place by later ones, so that hosts,
connections and counters outlive a push. Opening connections is `connect`'s part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from time import monotonic
from typing import Protocol

from proxy.config.model import Cluster as ClusterConfig
from proxy.config.model import ClusterLoadAssignment
from proxy.config.model.connecting import NO_SOCKETS
from proxy.http.message import Request, Response
from proxy.stats import Derived, Stats, StatusCounts
from proxy.upstream import retry
from proxy.upstream.balance import ContextPicker, PickContext, Picker
from proxy.upstream.balance.context import RetryContext
from proxy.upstream.breaker import Breaker
from proxy.upstream.choosing import Choosing
from proxy.upstream.cluster_stats import COUNTERS, GAUGES, IN_FLIGHT, NOTHING_YET, ClusterStats
from proxy.upstream.host import Host
from proxy.upstream.membership import Found, by_priority, changed, found_in, merged
from proxy.upstream.outlier import OutlierDetector, OutlierEvent
from proxy.upstream.pool import Exchange, Pool
from proxy.upstream.preconnect import Foresight
from proxy.upstream.preface import way_chooser
from proxy.upstream.tcp_end import TcpEnd
from proxy.upstream.verdict import IMMEDIATE_FAIL, matched, status_of_grpc
from proxy.upstream.way import Way, the_way


class HealthWatch(Protocol):
    """Whoever checks the hosts actively, and ends the intervals of outlier detection."""

    def watch(self, hosts: Iterable[Host]) -> None: ...
    def stop(self) -> None: ...


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
        self._by_text: dict[str, Host] = {}
        self._texts_of: list[Host] | None = None
        self.drop_share = 0.0
        self.default_sockets = NO_SOCKETS
        self._by_source = False
        self.on_rebuilt: Callable[[], None] | None = None
        self.breakers = {
            "DEFAULT": Breaker(config.thresholds_default),
            "HIGH": Breaker(config.thresholds_high),
        }
        stats.counters.family(self.prefix, COUNTERS, lambda _: NOTHING_YET)
        stats.gauges.family(self.prefix, GAUGES, self.gauge)
        self.outlier: OutlierDetector | None = None
        self.outlier_log: Callable[[OutlierEvent], None] | None = None
        self.health: HealthWatch | None = None
        self.open = open_connection
        self.foresight: Foresight | None = None
        self.tls_of = tls_for
        self.choosing = Choosing(stats, self.prefix, random, self._in_flight)
        self.pick: Picker = lambda: None
        self.pick_for: ContextPicker | None = None
        self.configure(config, tls_for)

    def gauge(self, name: str) -> Derived:
        """Envoy's gauges: they follow from what is known anyway."""
        return Derived(lambda: self._gauge(name))

    def _gauge(self, name: str) -> int:
        if name.startswith("circuit_breakers."):
            _, priority, which = name.split(".")
            return self.breakers[priority.upper()].is_open(which)
        kind = name.removeprefix("membership_")
        if kind == "total":
            return len(self.hosts)
        if kind in ("healthy", "degraded", "excluded"):
            return sum(bool(getattr(host, kind)) for host in self.hosts)
        return sum(getattr(breaker, IN_FLIGHT[name]) for breaker in self.breakers.values())

    # ------------------------------------------------------------------ configuration

    def configure(
        self, config: ClusterConfig, tls_for: Callable[[Host], object] | None = None
    ) -> None:
        """A new version of the same cluster. tls_for: None if the TLS material is the same."""
        spoken = (self.config.http, self.config.preconnect)
        self.config = config
        self.metadata = config.metadata
        ratio = config.preconnect.predictive
        self.foresight = Foresight(self, ratio) if ratio > 1.0 else None
        self._way = the_way(config.http)
        self._choose_way = way_chooser(config, self._by_source)
        if tls_for is not None:
            self.tls_of = tls_for
        self.breakers["DEFAULT"].limit(config.thresholds_default)
        self.breakers["HIGH"].limit(config.thresholds_high)
        for name, limits in (
            ("default", config.thresholds_default),
            ("high", config.thresholds_high),
        ):
            if limits.track_remaining:
                prefix = f"{self.prefix}circuit_breakers.{name}."
                self.breakers[name.upper()].derive_remaining(self.all_stats, prefix)
        self._configure_outlier()
        for host in self.hosts:
            host.tls = self.tls_of(host)
        self.rebuild()
        if spoken != (config.http, config.preconnect):
            self._renew_pools()

    def tell_sources_apart(self, by_source: bool) -> None:
        """Whether there are listeners whose clients' addresses hosts are to see."""
        if by_source != self._by_source:
            self._by_source = by_source
            self._choose_way = way_chooser(self.config, by_source)
            self._renew_pools()

    def _configure_outlier(self) -> None:
        """New settings judge the hosts by what is known of them already."""
        config = self.config.outlier
        if config is None:
            if self.outlier is not None:
                self.outlier.watch(())
            self.outlier = None
            return
        if self.outlier is None:
            self.outlier = OutlierDetector(
                config, self.all_stats, self.prefix, self.random, self.on_health, self._tell_outlier
            )
            self.outlier.watch(self.hosts)
        self.outlier.config = config

    def _tell_outlier(self, event: OutlierEvent) -> None:
        if self.outlier_log is not None:
            self.outlier_log(event)

    def retire_connections(self) -> None:
        """Idle connections close now, busy ones after their exchange: TLS material has changed."""
        self.generation += 1
        for host in self.hosts:
            for pool in list(host.pools.values()):
                pool.retire()

    def set_endpoints(self, assignment: ClusterLoadAssignment) -> None:
        """The whole membership, of endpoints whose addresses need no resolving."""
        self.choosing.take(assignment)
        self.drop_share = max((one.share for one in assignment.drop_overloads), default=0.0)
        self.set_hosts(found_in(assignment))

    def set_hosts(self, found: Iterable[Found]) -> None:
        """The whole membership. Hosts whose address stays keep connections and health."""
        known = {host.address: host for host in self.hosts}
        before = by_priority(self.hosts)
        fresh = merged(known, found, monotonic())
        self.hosts = list(fresh.values())
        for host in self.hosts:
            host.tls = self.tls_of(host)
        for address, host in known.items():
            host.leaving = address not in fresh
            if host.leaving and self._is_held(host):
                self.hosts.append(host)
            elif host.leaving:
                self.remove(host)
        self.stats.membership_change.value += changed(before, by_priority(self.hosts))
        self._tell_hosts()

    def _tell_hosts(self) -> None:
        """The hosts are others now."""
        if self.outlier is not None:
            self.outlier.watch(self.hosts)
        if self.health is not None:
            self.health.watch(self.hosts)
        self.rebuild()

    def _is_held(self, host: Host) -> bool:
        """Checked hosts stay while they are well (Envoy), for configuration may be wrong."""
        config = self.config
        if config.health_check is None or config.ignore_health_on_host_removal:
            return False
        return not host.failed and host.health not in ("UNHEALTHY", "TIMEOUT")

    def remove(self, host: Host) -> None:
        """It is no host of the cluster any more; what it began it may end."""
        host.removed = True
        for pool in list(host.pools.values()):
            pool.retire()

    def close(self) -> None:
        """The cluster is gone from the configuration; exchanges in flight may end."""
        self.stats.detach()
        for host in self.hosts:
            self.remove(host)
        if self.health is not None:
            self.health.stop()
        if self.outlier is not None:
            self.outlier.watch(())
        self.outlier = None

    def rebuild(self) -> None:
        """Health or membership has changed: choose anew who may be picked."""
        config = self.config
        made = self.choosing.build(config.lb, self.hosts, config.healthy_panic_threshold)
        self.balancer, self.pick, self.pick_for = made, made.pick, made.pick_for
        self._texts_of = None
        if self.foresight is not None:
            self.pick = self.foresight.picker(made.pick)
        if self.on_rebuilt is not None:
            self.on_rebuilt()

    def _in_flight(self) -> int:
        return sum(breaker.requests for breaker in self.breakers.values())

    # ------------------------------------------------------------------ on the way of a request

    def pick_again(self, context: RetryContext, at: int) -> Host | None:
        """For a retry that has rejected `at` hosts already; not of the priorities it has tried."""
        tried = context.tried_priorities
        pick_for = self.balancer.besides(tried) if tried else self.pick_for
        return self.pick() if pick_for is None else pick_for(context, at)

    def pick_preferred(self, context: PickContext, address: str, strict: bool) -> Host | None:
        """The host at `address` if its health is one of `override_host_status`; else, unless
        `strict`, any."""
        if self._texts_of is not self.hosts:
            self._texts_of = self.hosts
            self._by_text = {host.text: host for host in self.hosts}
        host = self._by_text.get(address)
        wanted = self.config.override_host_status
        if host is not None and not host.removed and host.status in wanted:
            return host
        if strict:
            return None
        return self.pick() if self.pick_for is None else self.pick_for(context)

    def serving(self, host: Host) -> Cluster:
        """Whose limits and statistics count for `host`: an aggregate's are another cluster's."""
        return self

    def lease(self, host: Host, breaker: Breaker, exchange: Exchange) -> bool:
        """Gets `exchange` a connection to `host`, now or later. False: a limit forbids it."""
        choose = self._choose_way
        if choose is None:
            pool = host.pools.get(breaker)
            way = self._way
        else:
            way = choose(exchange)
            pool = host.pools.get((breaker, way))
        if pool is None:
            pool = self._new_pool(host, breaker, way)
            if pool is None:
                return False
        if self.foresight is not None and choose is None:
            self.foresight.before(breaker)
        return pool.lease(exchange)

    def pool_of(self, host: Host, breaker: Breaker) -> Pool | None:
        """Of a cluster that speaks to its hosts in one way."""
        return host.pools.get(breaker) or self._new_pool(host, breaker, self._way)

    def _new_pool(self, host: Host, breaker: Breaker, way: Way) -> Pool | None:
        """None: there are as many as `max_connection_pools` allows."""
        if breaker.pools >= breaker.max_pools:
            self.stats.upstream_cx_pool_overflow.value += 1
            return None
        breaker.pools += 1
        key = breaker if self._choose_way is None else (breaker, way)
        pool = host.pools[key] = Pool(self, host, breaker, way, key)
        return pool

    def _renew_pools(self) -> None:
        """Hosts are spoken to in another way from now on: who waits goes there, and connections of
        the old way end what they began."""
        self.generation += 1
        for host in self.hosts:
            old = list(host.pools.values())
            host.pools.clear()
            for pool in old:
                pool.breaker.pools -= 1
                pool.retire()
                for exchange in pool.take_pending():
                    if not self.lease(host, pool.breaker, exchange):
                        exchange.on_reset(retry.OVERFLOW)

    def cancel_pending(self, host: Host, breaker: Breaker, exchange: Exchange) -> None:
        """`exchange` no longer waits for a connection to `host`."""
        for pool in host.pools.values():
            if pool.breaker is breaker and pool.cancel(exchange):
                return

    # ------------------------------------------------------------------ outcomes and time

    def retry_statuses(self) -> StatusCounts:
        """Answers that were followed by a retry (Envoy's `retry.upstream_rq_*`)."""
        return self.all_stats.statuses(f"{self.prefix}retry.upstream_rq_", single=True)

    def on_response(self, host: Host, request: Request, response: Response, now: float) -> None:
        """An attempt was answered."""
        status = response.status
        if status < 500:
            host.rq_success += 1
        else:
            host.rq_error += 1
        if host.monitor is not None:
            errors = self.config.error_statuses
            if errors is None:
                judged = status_of_grpc(request, response) or status
            else:
                judged = matched(status, errors)
            host.monitor.on_status(judged, now)
        if host.checker is not None and IMMEDIATE_FAIL in response.headers:
            host.checker.fail_at_once()

    def on_local_error(self, host: Host, now: float, status: int = 503) -> None:
        """An attempt was lost: no connection, reset (503) or timed out (504)."""
        host.rq_error += 1
        if host.monitor is not None:
            host.monitor.on_local_error(status, now)

    def on_health(self, host: Host) -> None:
        """`host` may take requests again, or no more: then its connections end when they can."""
        if host.leaving and host.failed and host in self.hosts:
            self.hosts.remove(host)
            self.remove(host)
            self.stats.membership_change.value += 1
            self._tell_hosts()
            return
        self.rebuild()
        if host.ejected or host.failed:
            for pool in list(host.pools.values()):
                pool.retire()
            if self.config.close_connections_on_host_health_failure:
                for connection in list(host.connections):
                    if isinstance(connection, TcpEnd):
                        connection.reset()

    def sweep(self, now: float) -> None:
        """Once a second or so: connections that are idle for too long."""
        self.now = now
        http = self.config.http
        for host in self.hosts:
            for pool in list(host.pools.values()):
                pool.sweep(now, http.idle_timeout_s, http.max_connection_duration_s)
