"""How fresh the foreign bundles are, for Prometheus. Read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from controlplane.federation.followed import Followed

_PREFIX = "weft_federation_"
_LABELS = ("trust_domain",)


class FederationMetrics:
    """A collector of the registry; trust domains come from the configuration alone."""

    def __init__(
        self,
        registry: CollectorRegistry,
        followed: Callable[[], dict[str, Followed]],
        clock: Callable[[], float],
    ) -> None:
        self._followed = followed
        self._clock = clock
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        now = self._clock()
        age = GaugeMetricFamily(
            f"{_PREFIX}bundle_age_seconds", "Since the bundle was got.", labels=_LABELS
        )
        failures = GaugeMetricFamily(
            f"{_PREFIX}refresh_failures",
            "Failed refreshes since the last good one.",
            labels=_LABELS,
        )
        roots = GaugeMetricFamily(
            f"{_PREFIX}bundle_roots", "Roots that are believed.", labels=_LABELS
        )
        for name, one in sorted(self._followed().items()):
            if one.domain.url:
                age.add_metric((name,), one.age_s(now))
                failures.add_metric((name,), one.failures)
            roots.add_metric((name,), len(one.bundle.roots) if one.bundle is not None else 0)
        yield from (age, failures, roots)
