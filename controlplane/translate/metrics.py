"""Telemetry and the MeshConfig -> what the proxies of which workloads count.

As in Istio: whatever Telemetry of a workload names providers last says whether Prometheus is one
of them; the overrides of all its levels then change metrics one by one, the widest level first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from controlplane.inventory import Snapshot
from controlplane.kinds.mesh_config import ExtensionProvider, MeshConfigMap
from controlplane.kinds.telemetry import METRICS, Direction, MetricOverride, Metrics, Telemetry
from controlplane.mesh.metering import METERED, Metered, MetricRule, ScopedMetrics
from controlplane.mesh.metering import Metrics as Counted
from controlplane.translate.metric_tags import STANDARD, fault_of_name, fault_of_value
from controlplane.translate.report import Report
from controlplane.translate.telemetry_levels import levels, saying, scoped, settings_of
from controlplane.translate.telemetry_providers import Providers

PROMETHEUS = "prometheus"
"""A provider that everybody has, and the default (Istio)."""

NAMES: Mapping[str, str] = {
    "REQUEST_COUNT": "requests_total",
    "REQUEST_DURATION": "request_duration_milliseconds",
    "REQUEST_SIZE": "request_bytes",
    "RESPONSE_SIZE": "response_bytes",
    "GRPC_REQUEST_MESSAGES": "request_messages_total",
    "GRPC_RESPONSE_MESSAGES": "response_messages_total",
    "TCP_OPENED_CONNECTIONS": "tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "tcp_connections_closed_total",
    "TCP_SENT_BYTES": "tcp_sent_bytes_total",
    "TCP_RECEIVED_BYTES": "tcp_received_bytes_total",
}
"""Istio's metrics, by their names in Telemetry."""


def build(snapshot: Snapshot, report: Report) -> tuple[ScopedMetrics, ...]:
    """Where none of them is for a workload, all of Istio's metrics are counted."""
    settings = settings_of(snapshot)
    providers = Providers.of(settings, PROMETHEUS, _fault, "nothing is counted for it")
    default = _default(settings)
    providers.tell_defaults(settings, "metrics", default, report)
    items = saying(snapshot, lambda spec: spec.metrics)
    for item in items:
        _tell(item, providers, report)
    merged = partial(_merged, default, providers)
    return scoped(levels(items, report), merged, METERED, ScopedMetrics)


# --------------------------------------------------------------------------- merging


@dataclass(slots=True)
class _Changed:
    """A metric, as overrides have left it. tags: None for one that is taken out."""

    dropped: bool = False
    tags: dict[str, str | None] = field(default_factory=dict)

    def rule(self, metric: str) -> MetricRule:
        removed = tuple(sorted(name for name, value in self.tags.items() if value is None))
        tags = [(name, value) for name, value in sorted(self.tags.items()) if value is not None]
        return MetricRule(NAMES[metric], self.dropped, removed, tuple(tags))


def _merged(default: tuple[str, ...], providers: Providers, items: Iterable[Telemetry]) -> Metered:
    entries = [one for item in items for one in item.spec.metrics]
    named = [tuple(ref.name for ref in one.providers) for one in entries]
    last = next((names for names in reversed(named) if names), default)
    ours = next((name for name in last if name in providers), None)
    if ours is None:
        return Metered()
    interval_s = None
    changed: dict[Direction, dict[str, _Changed]] = {"CLIENT": {}, "SERVER": {}}
    current = default
    for entry, names in zip(entries, named, strict=True):
        current = names or current
        if ours not in current:
            continue
        interval_s = entry.reporting_interval_s or interval_s
        for override in entry.overrides:
            _change(changed, override)
    return Metered(_counted(changed["CLIENT"], interval_s), _counted(changed["SERVER"], interval_s))


def _change(changed: Mapping[Direction, dict[str, _Changed]], override: MetricOverride) -> None:
    match = override.match
    if match.custom_metric:
        return
    every = match.metric in ("", "ALL_METRICS")
    for direction, metrics in changed.items():
        if not match.takes(direction):
            continue
        for name in NAMES if every else (match.metric,):
            one = metrics.setdefault(name, _Changed())
            if override.disabled is not None:
                one.dropped = override.disabled
            for tag, said in override.tag_overrides.items():
                if said.operation == "REMOVE":
                    one.tags[tag] = None
                elif not (fault_of_name(tag) or fault_of_value(said.value)):
                    one.tags[tag] = said.value


def _counted(changed: Mapping[str, _Changed], interval_s: float | None) -> Counted | None:
    """None if none of them is left."""
    if len(changed) == len(NAMES) and all(one.dropped for one in changed.values()):
        return None
    rules = [one.rule(metric) for metric, one in sorted(changed.items())]
    return Counted(tuple(rule for rule in rules if rule != MetricRule(rule.metric)), interval_s)


# --------------------------------------------------------------------------- what has no effect


def _tell(item: Telemetry, providers: Providers, report: Report) -> None:
    message = "spec.metrics holds for Weft's proxies; a plain Envoy has its own statistics alone"
    report.info(item, item.spec.at("metrics"), "WeftProxies", message)
    for entry in item.spec.metrics:
        providers.tell(item, entry.providers, report)
        for override in entry.overrides:
            _tell_override(item, override, report)
        _tell_interval(item, entry, report)


def _tell_interval(item: Telemetry, entry: Metrics, report: Report) -> None:
    interval_s = entry.reporting_interval_s
    if interval_s is not None and interval_s < 1:
        message = "reportingInterval: proxies report once a second at most"
        report.warning(item, entry.at("reportingInterval"), "NoEffect", message)


def _tell_override(item: Telemetry, override: MetricOverride, report: Report) -> None:
    match = override.match
    if match.custom_metric:
        message = (
            f"match.customMetric has no effect: proxies count Istio's own metrics "
            f"({', '.join(METRICS[1:])})"
        )
        report.error(item, match.at("customMetric"), "NotSupported", message)
        return
    for tag, said in override.tag_overrides.items():
        if fault := fault_of_name(tag):
            message = f"tagOverrides: the tag {tag!r} {fault}, and is left out"
            report.error(item, said.position, "NotSupported", message)
        elif said.operation == "REMOVE" and tag not in STANDARD:
            message = f"tagOverrides: no metric of Istio's has the tag {tag!r}"
            report.info(item, said.position, "NoEffect", message)
        elif said.operation == "UPSERT" and (fault := fault_of_value(said.value)):
            message = f"tagOverrides: {fault}; the tag {tag!r} stays as it was"
            report.error(item, said.at("value"), "NotSupported", message)


# --------------------------------------------------------------------------- providers


def _fault(provider: ExtensionProvider) -> str:
    return "" if provider.prometheus is not None else "is no prometheus"


def _default(settings: MeshConfigMap | None) -> tuple[str, ...]:
    chosen = settings.data.mesh.default_providers if settings is not None else None
    named = chosen.metrics if chosen is not None else None
    return (PROMETHEUS,) if named is None else named
