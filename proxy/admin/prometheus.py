"""Statistics in the Prometheus text format, named as Envoy names them.

`prometheus_client` is not used to write: it insists on `_total` behind every counter, and Envoy's
`envoy_cluster_upstream_rq` (by response code) would become `..._upstream_rq_total`, another metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from proxy.admin.tags import Tags, extract
from proxy.stats import BUCKETS, Counter, Derived, Gauge, Histogram, Labels, Stats

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Keep = Callable[[str, bool], bool]
"""(name, is it used) -> whether to show it."""

Statistic = Counter | Gauge | Derived | Histogram
Families = dict[str, list[tuple[str, Statistic]]]
"""The samples of each metric, with their labels."""

NAMES_PER_PIECE = 64
SAMPLES_PER_PIECE = 32
PIECE_CHARACTERS = 64 * 1024
"""Of samples with labels, which may be long; one sample is in one piece, as it was at one time."""
_EDGES = tuple(f'le="{edge}"}} ' for edge in (*BUCKETS, "+Inf"))


def exposition(stats: Stats, keep: Keep) -> Iterator[str]:
    """All kept statistics, the samples of a metric together under one TYPE line; in pieces of
    about a millisecond of work each, some of them empty."""
    yield from _pieces(stats.counters, keep, "counter")
    yield from _pieces(stats.gauges, keep, "gauge")
    yield from _pieces(stats.histograms, keep, "histogram")
    for metric, counters in sorted(stats.labelled.counters.items()):
        yield from _samples(metric, counters, keep, "counter")
    for metric, histograms in sorted(stats.labelled.histograms.items()):
        yield from _samples(metric, histograms, keep, "histogram")


def _pieces(table: Mapping[str, Statistic], keep: Keep, kind: str) -> Iterator[str]:
    families: Families = {}
    for at, (name, statistic) in enumerate(list(table.items())):
        if at % NAMES_PER_PIECE == 0:
            yield ""
        if keep(name, _is_used(statistic)):
            metric, labels = _named(name)
            families.setdefault(metric, []).append((labels, statistic))
    for metric in sorted(families):
        yield f"# TYPE {metric} {kind}\n"
        samples = families[metric]
        for at in range(0, len(samples), SAMPLES_PER_PIECE):
            part = samples[at : at + SAMPLES_PER_PIECE]
            yield "".join(_lines(metric, labels, statistic) for labels, statistic in part)


def _samples(
    metric: str, samples: Mapping[Labels, Statistic], keep: Keep, kind: str
) -> Iterator[str]:
    """Of a metric that has its name and labels already."""
    head = f"# TYPE {metric} {kind}\n"
    lines, characters = [head], 0
    for at, (labels, one) in enumerate(list(samples.items()), 1):
        if keep(metric, _is_used(one)):
            lines.append(_lines(metric, _plain(labels), one))
            characters += len(lines[-1])
        if characters > PIECE_CHARACTERS or at % SAMPLES_PER_PIECE == 0:
            if lines != [head]:
                yield "".join(lines)
                lines, characters = [], 0
            else:
                yield ""
    if lines != [head]:
        yield "".join(lines)


def _is_used(statistic: Statistic) -> bool:
    if isinstance(statistic, Histogram):
        return statistic.count > 0
    return statistic.value != 0


def _lines(metric: str, labels: str, statistic: Statistic) -> str:
    if isinstance(statistic, Histogram):
        return _buckets(metric, labels, statistic)
    return f"{metric}{{{labels}}} {statistic.value}\n"


def _named(name: str) -> tuple[str, str]:
    """`envoy_cluster_upstream_rq`, `envoy_response_code="503",envoy_cluster_name="web"`."""
    bare, tags = extract(name)
    return "envoy_" + _ILLEGAL.sub("_", bare), _labels(tags)


def _plain(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)


def _labels(tags: Tags) -> str:
    return ",".join(f'envoy_{tag}="{value.translate(_ESCAPES)}"' for tag, value in tags)


def _buckets(metric: str, labels: str, histogram: Histogram) -> str:
    start = f"{metric}_bucket{{{labels}{',' if labels else ''}"
    lines, seen = [], 0
    for edge, count in zip(_EDGES, histogram.counts, strict=True):
        seen += count
        lines.append(f"{start}{edge}{seen}\n")
    lines.append(f"{metric}_sum{{{labels}}} {histogram.total:g}\n")
    lines.append(f"{metric}_count{{{labels}}} {histogram.count}\n")
    return "".join(lines)
