"""Statistics in the Prometheus text format, named as Envoy names them.

`prometheus_client` is not used to write: it insists on `_total` behind every counter, and Envoy's
`envoy_cluster_upstream_rq` (by response code) would become `..._upstream_rq_total`, another metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from proxy.admin.tags import Tags, extract
from proxy.stats import BUCKETS, Counter, Gauge, Histogram, Stats

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Keep = Callable[[str, bool], bool]
"""(name, is it used) -> whether to show it."""

Families = dict[str, list[str]]
"""The lines of each metric."""


def exposition(stats: Stats, keep: Keep) -> str:
    """All kept statistics, the samples of a metric together under one TYPE line."""
    lines: list[str] = []
    lines += _under_types(_families(stats.counters, keep), "counter")
    lines += _under_types(_families(stats.gauges, keep), "gauge")
    histograms: Families = {}
    for name, histogram in stats.histograms.items():
        if keep(name, histogram.count > 0):
            metric, labels = _named(name)
            histograms.setdefault(metric, []).extend(_buckets(metric, labels, histogram))
    lines += _under_types(histograms, "histogram")
    return "\n".join(lines) + "\n" if lines else ""


def _families(table: Mapping[str, Counter] | Mapping[str, Gauge], keep: Keep) -> Families:
    families: Families = {}
    for name, statistic in table.items():
        if keep(name, statistic.value != 0):
            metric, labels = _named(name)
            families.setdefault(metric, []).append(f"{metric}{{{labels}}} {statistic.value}")
    return families


def _under_types(families: Families, kind: str) -> Iterable[str]:
    for metric in sorted(families):
        yield f"# TYPE {metric} {kind}"
        yield from families[metric]


def _named(name: str) -> tuple[str, str]:
    """`envoy_cluster_upstream_rq`, `envoy_response_code="503",envoy_cluster_name="web"`."""
    bare, tags = extract(name)
    return "envoy_" + _ILLEGAL.sub("_", bare), _labels(tags)


def _labels(tags: Tags) -> str:
    return ",".join(f'envoy_{tag}="{value.translate(_ESCAPES)}"' for tag, value in tags)


def _buckets(metric: str, labels: str, histogram: Histogram) -> Iterable[str]:
    comma = "," if labels else ""
    seen = 0
    for edge, count in zip((*BUCKETS, "+Inf"), histogram.counts, strict=True):
        seen += count
        yield f'{metric}_bucket{{{labels}{comma}le="{edge}"}} {seen}'
    yield f"{metric}_sum{{{labels}}} {histogram.total:g}"
    yield f"{metric}_count{{{labels}}} {histogram.count}"
