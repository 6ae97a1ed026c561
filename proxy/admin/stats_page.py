"""`/stats` and `/stats/prometheus`: statistics as text, JSON or in Prometheus's format.

`usedonly` leaves out what is zero: Envoy remembers writes, we only values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from proxy.admin.prometheus import Keep, exposition
from proxy.admin.reply import Query, Reply, bad_request, json_reply
from proxy.admin.view import AdminView
from proxy.stats import Histogram, Labels, Stats

QUANTILES = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0)
TYPES = ("All", "Counters", "Gauges", "Histograms", "TextReadouts")
MAX_FILTER_CHARACTERS = 1024
CUSTOM = "istiocustom"
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def stats(view: AdminView, query: Query) -> Reply:
    """?filter= ?invert_filter ?usedonly ?type= ?format=text|json|prometheus"""
    form = query.get("format", "text")
    if form not in ("text", "json", "prometheus"):
        return bad_request("usage: /stats?format=(json|prometheus|text)\n")
    if query.get("histogram_buckets", "summary") != "summary":
        return bad_request("histogram_buckets: only summary is supported; see format=prometheus")
    kind = query.get("type", "All")
    if kind not in TYPES:
        return bad_request(f"usage: /stats?type=({'|'.join(TYPES)})")
    if form == "prometheus":
        return prometheus(view, query)
    keep = _keep(query)
    if isinstance(keep, Reply):
        return keep
    plain = sorted(_plain(view.stats, keep, kind))
    histograms = sorted(_histograms(view.stats, keep, kind), key=lambda each: each[0])
    if form == "json":
        return json_reply(_as_json(plain, histograms))
    lines = [f"{name}: {value}\n" for name, value in plain]
    lines += [f"{name}: {_summary(histogram)}\n" for name, histogram in histograms]
    return Reply("".join(lines))


def prometheus(view: AdminView, query: Query) -> Reply:
    keep = _keep(query)
    if isinstance(keep, Reply):
        return keep
    return Reply(exposition(view.stats, keep), content_type=PROMETHEUS_TEXT)


def _keep(query: Query) -> Keep | Reply:
    used_only = "usedonly" in query
    inverted = "invert_filter" in query
    text = query.get("filter", "")
    if len(text) > MAX_FILTER_CHARACTERS:
        return bad_request("filter: too long")
    try:
        pattern = re.compile(text)
    except re.error as error:
        return bad_request(f"Invalid regex: {error}: {text}")

    def keep(name: str, used: bool) -> bool:
        return (used or not used_only) and (not text or (pattern.search(name) is None) is inverted)

    return keep


def _plain(stats: Stats, keep: Keep, kind: str) -> Iterable[tuple[str, int]]:
    if kind in ("All", "Counters"):
        for name, counter in stats.counters.items():
            if keep(name, counter.value != 0):
                yield name, counter.value
    if kind in ("All", "Gauges"):
        for name, gauge in stats.gauges.items():
            if keep(name, gauge.value != 0):
                yield name, gauge.value
    if kind in ("All", "Counters"):
        for metric, samples in stats.labelled.counters.items():
            for labels, counter in list(samples.items()):
                if keep(name := _dotted(metric, labels), counter.value != 0):
                    yield name, counter.value


def _histograms(stats: Stats, keep: Keep, kind: str) -> Iterable[tuple[str, Histogram]]:
    if kind in ("All", "Histograms"):
        for name, histogram in stats.histograms.items():
            if keep(name, histogram.count > 0):
                yield name, histogram
        for metric, samples in stats.labelled.histograms.items():
            for labels, histogram in list(samples.items()):
                if keep(name := _dotted(metric, labels), histogram.count > 0):
                    yield name, histogram


def _dotted(metric: str, labels: Labels) -> str:
    """As Istio's proxies call it here: `istiocustom.istio_requests_total.reporter.source...`."""
    name = ".".join((CUSTOM, metric, *(part for pair in labels for part in pair)))
    if name.isprintable():
        return name
    return "".join(each if each.isprintable() else "_" for each in name)  # one line stays one


def _summary(histogram: Histogram) -> str:
    """Envoy's `P50(interval,cumulative)`; we keep no interval."""
    if not histogram.count:
        return "No recorded values"
    return " ".join(f"P{q:g}(nan,{histogram.quantile(q / 100):g})" for q in QUANTILES)


def _as_json(
    plain: list[tuple[str, int]], histograms: list[tuple[str, Histogram]]
) -> dict[str, Any]:
    listed: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in plain]
    if histograms:
        computed = [{"name": name, "values": _quantiles(each)} for name, each in histograms]
        supported = list(QUANTILES)
        listed.append(
            {"histograms": {"supported_quantiles": supported, "computed_quantiles": computed}}
        )
    return {"stats": listed}


def _quantiles(histogram: Histogram) -> list[dict[str, float | None]]:
    return [
        {
            "interval": None,
            "cumulative": histogram.quantile(q / 100) if histogram.count else None,
        }
        for q in QUANTILES
    ]
