"""The Kubernetes source for Prometheus. The labels are kinds, never objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controlplane.sources.kubernetes.source import KubernetesSource

_PREFIX = "weft_kubernetes_"


class KubernetesMetrics:
    """A collector of the registry. leads: whether this control plane writes statuses."""

    def __init__(
        self, registry: CollectorRegistry, source: KubernetesSource, leads: Callable[[], bool]
    ) -> None:
        self._source = source
        self._leads = leads
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        source = self._source
        yield from _collections(source)
        for name, value, text in (
            ("ready", source.is_ready, "Everything was listed once."),
            ("leader", self._leads(), "This control plane is the one that writes statuses."),
            (
                "last_contact_timestamp_seconds",
                source.last_contact,
                "When the API server was last heard of (Unix seconds).",
            ),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}{name}", text, value=float(value))


def _collections(source: KubernetesSource) -> Iterator[Metric]:
    objects = GaugeMetricFamily(f"{_PREFIX}objects", "Objects that are known.", labels=("kind",))
    text = "Failures in a row of those that list and watch."
    failures = GaugeMetricFamily(f"{_PREFIX}failures", text, labels=("kind",))
    text = "Events of watches."
    events = CounterMetricFamily(f"{_PREFIX}watch_events", text, labels=("kind", "type"))
    text = "Complete lists: at the start, after 410 Gone, or where versions can't be compared."
    lists = CounterMetricFamily(f"{_PREFIX}lists", text, labels=("kind", "reason"))
    known: Counter[tuple[str, ...]] = Counter()
    heard: Counter[tuple[str, ...]] = Counter()
    listed: Counter[tuple[str, ...]] = Counter()
    failed: Counter[tuple[str, ...]] = Counter()
    for one in source.collections.values():  # of one kind there are several, by namespace
        kind = one.followed.kind
        known[(kind,)] += len(one.replica)
        failed[(kind,)] += one.trouble.failures
        heard.update({(kind, type_): count for type_, count in one.events.items()})
        listed.update({(kind, why): count for why, count in one.lists.items()})
    pairs = ((objects, known), (failures, failed), (events, heard), (lists, listed))
    for family, counts in pairs:
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family
