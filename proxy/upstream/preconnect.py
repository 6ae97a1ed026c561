"""`predictive_preconnect_ratio`: connections to the hosts that will be picked next.

Hosts that were foreseen are remembered and picked in that order, so that what was opened for them
is of use. Only policies that look at nothing of the request can be foreseen (Envoy's rule, too).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from proxy.upstream.balance import Picker
from proxy.upstream.breaker import Breaker
from proxy.upstream.host import Host
from proxy.upstream.pool import MAX_OPENED_AT_ONCE

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster


class Foresight:
    """ratio: room for streams to streams, over all hosts of the cluster."""

    __slots__ = ("_cluster", "_foreseen", "_pick", "_ratio")

    def __init__(self, cluster: Cluster, ratio: float) -> None:
        self._cluster = cluster
        self._ratio = ratio
        self._foreseen: deque[Host] = deque()
        self._pick: Picker = lambda: None

    def picker(self, pick: Picker) -> Picker:
        """`pick` behind what was foreseen of it. Membership or health has changed: what was
        foreseen until now is forgotten."""
        self._pick = pick
        self._foreseen.clear()
        return self._next

    def _next(self) -> Host | None:
        return self._foreseen.popleft() if self._foreseen else self._pick()

    def before(self, breaker: Breaker) -> None:
        """A request is about to be sent: there shall be room for those after it."""
        cluster = self._cluster
        for _ in range(MAX_OPENED_AT_ONCE):
            pools = [pool for host in cluster.hosts for pool in host.pools.values()]
            waiting = sum(len(pool.pending) for pool in pools)
            active = sum(pool.active for pool in pools)
            room = sum(pool.room for pool in pools)
            if (waiting + active + 1) * self._ratio <= room + active:
                return
            if len(self._foreseen) > sum(host.healthy for host in cluster.hosts):
                return
            host = self._pick()
            if host is None:
                return
            self._foreseen.append(host)
            pool = cluster.pool_of(host, breaker)
            if pool is None or not pool.connect_more(self._ratio):
                return
