"""What clients report of the requests that they sent (Envoy's LRS), added up by cluster. SANS-IO.

Numbers of requests grow; those in progress are what each client said last, so that they go with
the client. Clusters that the mesh does not know are counted together: a client may say anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest

from controlplane.emit import names
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Mesh

MAX_CLUSTERS_IN_REPORT = 20_000
OTHERS = ""
"""The name under which clusters are counted that the mesh does not have."""


@dataclass(slots=True)
class Load:
    """Of one cluster, from all clients since the start."""

    issued: int = 0
    succeeded: int = 0
    failed: int = 0
    dropped: int = 0

    def add(self, other: Load) -> None:
        self.issued += other.issued
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.dropped += other.dropped


class Reporter:
    """One client's stream: what it has under way, by cluster."""

    __slots__ = ("in_progress",)

    def __init__(self) -> None:
        self.in_progress: dict[str, int] = {}


class Loads:
    """Of the clusters of the present mesh."""

    def __init__(self, mesh: Callable[[], Mesh]) -> None:
        self._mesh = mesh
        self._known: frozenset[str] = frozenset()
        self._known_of: Mesh | None = None
        self._loads: dict[str, Load] = {}
        self._reporters: set[Reporter] = set()

    @property
    def known(self) -> frozenset[str]:
        """The clusters of services. What was reported of one that has gone is forgotten."""
        mesh = self._mesh()
        if mesh is not self._known_of:
            self._known, self._known_of = Targets(mesh.services).known, mesh
            kept = self._known | {OTHERS}
            self._loads = {name: load for name, load in self._loads.items() if name in kept}
        return self._known

    @property
    def by_cluster(self) -> Mapping[str, Load]:
        return self._loads

    def by_service(self) -> dict[str, Load]:
        """By host name, ports and subsets together."""
        found: dict[str, Load] = {}
        for name, load in self._loads.items():
            if name != OTHERS:
                found.setdefault(names.hostname_of(name), Load()).add(load)
        return found

    @property
    def clients(self) -> int:
        """How many report."""
        return len(self._reporters)

    def in_progress(self) -> dict[str, int]:
        """By cluster, of all who report now."""
        found: dict[str, int] = {}
        for reporter in self._reporters:
            for name, number in reporter.in_progress.items():
                found[name] = found.get(name, 0) + number
        return found

    def joined(self) -> Reporter:
        reporter = Reporter()
        self._reporters.add(reporter)
        return reporter

    def left(self, reporter: Reporter) -> None:
        self._reporters.discard(reporter)

    def report(self, reporter: Reporter, request: LoadStatsRequest) -> bool:
        """One report; whether all of it was taken."""
        reporter.in_progress = {}
        known = self.known
        for stats in request.cluster_stats[:MAX_CLUSTERS_IN_REPORT]:
            name = stats.cluster_name if stats.cluster_name in known else OTHERS
            load = self._loads.setdefault(name, Load())
            under_way = 0
            for place in stats.upstream_locality_stats:
                load.issued += place.total_issued_requests
                load.succeeded += place.total_successful_requests
                load.failed += place.total_error_requests
                under_way += place.total_requests_in_progress
            load.dropped += stats.total_dropped_requests
            if under_way:
                before = reporter.in_progress.get(name, 0)
                reporter.in_progress[name] = before + under_way
        return len(request.cluster_stats) <= MAX_CLUSTERS_IN_REPORT
