"""What a cluster keeps between two builds of its balancer, and the build itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from time import monotonic

from proxy.config.model import ClusterLoadAssignment
from proxy.config.model.balancing import Lb, MaglevLb, ProvidedLb, SubsetLb
from proxy.stats import Stats
from proxy.tasks import spawn
from proxy.upstream.balance import (
    Balancer,
    HostSet,
    Surroundings,
    balancer,
    host_sets,
    subset_balancer,
)
from proxy.upstream.balance.hashing import NormalizedWeights
from proxy.upstream.balance.host_set import Zone
from proxy.upstream.balance.maglev import fill
from proxy.upstream.balance.priority import levels
from proxy.upstream.balance.subset import Criteria
from proxy.upstream.host import Host

# How long filling a table may keep requests waiting.
SLICE_S = 0.002


class Choosing:
    """weights: of localities, by priority and zone. local_zone: this proxy's own, if it is told.
    local: the hosts of the local cluster (`cluster_manager.local_cluster_name`)."""

    __slots__ = (
        "_around",
        "_prefix",
        "_stats",
        "_subsets",
        "local",
        "local_zone",
        "overprovisioning",
        "sets",
        "weighted_health",
        "weights",
    )

    def __init__(
        self, stats: Stats, prefix: str, random: Random, in_flight: Callable[[], int]
    ) -> None:
        self._stats = stats
        self._prefix = prefix
        self._around = Surroundings(random, monotonic, self._count, self._gauge, in_flight)
        self._subsets: frozenset[Criteria] = frozenset()
        self.sets: Sequence[HostSet] = ()
        self.weights: Mapping[tuple[int, Zone], int] = {}
        self.overprovisioning = 140
        self.weighted_health = False
        self.local_zone: Zone | None = None
        self.local: HostSet | None = None

    def build(self, lb: Lb, hosts: Sequence[Host], panic_threshold: float) -> Balancer:
        """Of the hosts as they are now. A cluster that provides its own choice gets nobody."""
        around = self._around
        around.panic_threshold = panic_threshold
        around.local = self.local
        self.sets = host_sets(
            hosts, self.weights, self.overprovisioning, self.weighted_health, self.local_zone
        )
        if isinstance(lb, ProvidedLb):
            return Balancer(levels(self.sets, panic_threshold), lambda _: (_nobody, None))
        around.tables.begin()
        around.in_subsets = isinstance(lb, SubsetLb)
        if isinstance(lb, SubsetLb):
            made, self._subsets = subset_balancer(lb, self.sets, around, self._subsets)
            return made
        return balancer(lb, self.sets, around)

    def fill_later_by(self, rebuild: Callable[[], None]) -> None:
        """From now on large tables are filled in slices; `rebuild` is called when one is full."""

        def fill_later(
            lb: MaglevLb, weights: NormalizedWeights, done: Callable[[list[Host]], None]
        ) -> None:
            spawn(_fill(lb, weights, done, rebuild), "fill a Maglev table")

        self._around.tables.fill_later = fill_later

    def take(self, assignment: ClusterLoadAssignment) -> None:
        """How localities and priorities share the load, as it came with the endpoints."""
        self.overprovisioning = assignment.overprovisioning_factor
        self.weighted_health = assignment.weighted_priority_health
        self.weights = {
            (group.priority, group.locality): group.weight or 0 for group in assignment.localities
        }

    def _count(self, name: str, more: int) -> None:
        self._stats.counter(self._prefix + name).value += more

    def _gauge(self, name: str, value: int) -> None:
        self._stats.gauge(self._prefix + name).value = value


async def _fill(
    lb: MaglevLb,
    weights: NormalizedWeights,
    done: Callable[[list[Host]], None],
    rebuild: Callable[[], None],
) -> None:
    made: list[Host | None] = []
    began = monotonic()
    for _ in fill(lb, weights, made):
        if monotonic() - began > SLICE_S:
            await asyncio.sleep(0)
            began = monotonic()
    done([host for host in made if host is not None])
    rebuild()


def _nobody() -> Host | None:
    return None
