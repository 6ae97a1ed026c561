"""What is pushed and how soon it is acknowledged, counted without a lock, a label or an object for
each, and made into metrics when somebody reads them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from protos.types import short_name

CONVERGENCE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0)


class PushCounts:
    """A collector of the registry."""

    __slots__ = ("_bytes", "_converged", "_prefix", "_pushes", "_sum_s")

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self._prefix = prefix
        self._pushes: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._converged = [0] * (len(CONVERGENCE_BUCKETS_S) + 1)
        self._sum_s = 0.0
        registry.register(self)

    def pushed(self, type_url: str, size: int) -> None:
        self._pushes[type_url] = self._pushes.get(type_url, 0) + 1
        self._bytes[type_url] = self._bytes.get(type_url, 0) + size

    def converged(self, after_s: float) -> None:
        self._converged[bisect_left(CONVERGENCE_BUCKETS_S, after_s)] += 1
        self._sum_s += after_s

    def collect(self) -> Iterator[Metric]:
        for name, about, found in (
            ("xds_pushes", "xDS responses sent.", self._pushes),
            ("xds_push_bytes", "Bytes of them.", self._bytes),
        ):
            counter = CounterMetricFamily(f"{self._prefix}{name}", about, labels=("type",))
            for type_url, number in found.items():
                counter.add_metric((short_name(type_url),), number)
            yield counter
        yield self._convergence()

    def _convergence(self) -> Metric:
        total, buckets = 0, list[tuple[str, float]]()
        bounds = (*map(floatToGoString, CONVERGENCE_BUCKETS_S), "+Inf")
        for bound, number in zip(bounds, self._converged, strict=True):
            total += number
            buckets.append((bound, total))
        about = "From a change of configuration to the last ACK of a proxy."
        made = HistogramMetricFamily(f"{self._prefix}proxy_convergence_seconds", about)
        made.add_metric((), buckets, self._sum_s)
        return made
