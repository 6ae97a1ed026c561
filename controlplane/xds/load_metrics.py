"""What clients report of their requests, for Prometheus. Read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controlplane.xds.loads import Loads

PREFIX = "weft_reported_"


class LoadMetrics:
    """A collector of the registry; clusters are those of the mesh, and "" for all others."""

    def __init__(self, registry: CollectorRegistry, loads: Loads) -> None:
        self._loads = loads
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            f"{PREFIX}requests",
            "Requests that clients report (LRS): issued, and how they ended.",
            labels=("cluster", "result"),
        )
        for cluster, load in sorted(self._loads.by_cluster.items()):
            requests.add_metric((cluster, "issued"), load.issued)
            requests.add_metric((cluster, "success"), load.succeeded)
            requests.add_metric((cluster, "error"), load.failed)
            requests.add_metric((cluster, "dropped"), load.dropped)
        under_way = GaugeMetricFamily(
            f"{PREFIX}requests_in_progress", "Of all who report now.", labels=("cluster",)
        )
        for cluster, number in sorted(self._loads.in_progress().items()):
            under_way.add_metric((cluster,), number)
        clients = GaugeMetricFamily(f"{PREFIX}clients", "Clients that report their requests.")
        clients.add_metric((), self._loads.clients)
        yield from (requests, under_way, clients)
