"""The store for Prometheus: whether it is there, what it has, and who else uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controlplane.sources.store.mirror import Mirror

_PREFIX = "weft_store_"


class StoreMetrics:
    """A collector of the registry. away: why the store is away, '' if it is not. others: how many
    replicas there are beside this one."""

    def __init__(
        self,
        registry: CollectorRegistry,
        mirror: Mirror,
        away: Callable[[], str],
        others: Callable[[], int],
    ) -> None:
        self._mirror = mirror
        self._away = away
        self._others = others
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        mirror = self._mirror
        for name, value, text in (
            ("up", not self._away(), "The store answers."),
            ("objects", mirror.count, "Applied objects that it has."),
            ("refused_objects", mirror.refused, "Of these such as are not understood."),
            ("replicas", 1 + self._others(), "Control planes that share it, this one included."),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}{name}", text, value=float(value))
        text = "Changes that it told, this control plane's own included."
        yield CounterMetricFamily(f"{_PREFIX}changes", text, value=mirror.changes)
