"""An aggregate cluster: the priorities of several clusters in a row, the first cluster's first.

It has no hosts of its own: it says which cluster serves and at which of its priorities, and there
the host is picked and the connection made, by that cluster's own policy and limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from proxy.config.model import Cluster as ClusterConfig
from proxy.stats import Stats
from proxy.upstream.balance import Balancer, PickContext
from proxy.upstream.balance.priority import Levels, spread
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool import Exchange, Pool


class AggregateCluster(Cluster):
    """clusters: all that run, by name; those that are not there (yet) are passed over."""

    def __init__(
        self,
        config: ClusterConfig,
        stats: Stats,
        random: Random,
        open_connection: Callable[[Pool], None],
        tls_for: Callable[[Host], object],
        clusters: Mapping[str, Cluster],
    ) -> None:
        self._clusters = clusters
        self._balancers: list[Balancer] = []
        self._steps: list[tuple[Cluster, int]] = []
        self._levels = Levels((), ())
        super().__init__(config, stats, random, open_connection, tls_for)

    def rebuild(self) -> None:
        super().rebuild()
        self.pick = lambda: self._pick(None, 0)
        self.pick_for = self._pick

    def _pick(self, context: PickContext | None, attempt: int = 0) -> Host | None:
        self._refresh()
        shares = self._levels.shares
        if not shares or not self._steps:
            return None
        at, part = self._levels.at(self.random.random() * 100)
        cluster, priority = self._steps[at]
        host = cluster.balancer.of(priority, part)(context, attempt)
        if host is not None:
            host.home = cluster
        return host

    def _refresh(self) -> None:
        """Anew when one of them has made itself anew."""
        names = self.config.clusters
        found = [self._clusters[name] for name in names if name in self._clusters]
        balancers = [cluster.balancer for cluster in found]
        if balancers == self._balancers:
            return
        self._balancers = balancers
        self._steps = [
            (cluster, at) for cluster in found for at in range(len(cluster.balancer.levels.health))
        ]
        health = [both for one in balancers for both in one.levels.health]
        sizes = [len(one.hosts) for cluster in found for one in cluster.choosing.sets]
        panics = [
            one.levels.panics[at] for one in balancers for at in range(len(one.levels.health))
        ]
        self._levels = spread(health, panics, sizes)

    def lease(self, host: Host, breaker: Breaker, exchange: Exchange) -> bool:
        cluster, theirs = self._limits(host, breaker)
        return cluster.lease(host, theirs, exchange)

    def cancel_pending(self, host: Host, breaker: Breaker, exchange: Exchange) -> None:
        cluster, theirs = self._limits(host, breaker)
        cluster.cancel_pending(host, theirs, exchange)

    def serving(self, host: Host) -> Cluster:
        cluster = host.home
        assert isinstance(cluster, Cluster), "it was picked here"
        return cluster

    def _limits(self, host: Host, breaker: Breaker) -> tuple[Cluster, Breaker]:
        """The host's own cluster, and its breaker of the same priority."""
        cluster = self.serving(host)
        name = "HIGH" if breaker is self.breakers["HIGH"] else "DEFAULT"
        return cluster, cluster.breakers[name]
