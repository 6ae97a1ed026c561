"""How fresh the keys of issuers are, for Prometheus. Read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from controlplane.openid.followed import Followed

_LABELS = ("issuer",)


class OpenIdMetrics:
    """A collector of the registry; issuers come from the configuration alone."""

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
        prefix = "weft_openid_"
        age = GaugeMetricFamily(
            f"{prefix}keys_age_seconds", "Since the keys were confirmed last.", labels=_LABELS
        )
        failures = GaugeMetricFamily(
            f"{prefix}refresh_failures", "Failed look-ups since the last good one.", labels=_LABELS
        )
        now = self._clock()
        for issuer, one in sorted(self._followed().items()):
            if one.got_at:
                age.add_metric((issuer,), now - one.got_at)
            failures.add_metric((issuer,), one.failures)
        yield from (age, failures)
