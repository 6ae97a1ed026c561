"""Telemetry and the MeshConfig -> what the proxies of which workloads count.

As in Istio: whatever Telemetry of a workload names providers last says whether Prometheus is one
of them; the overrides of all its levels then change metrics one by one, the widest level first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from controlplane.inventory import Snapshot
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.kinds.telemetry import METRICS, MetricOverride, Metrics, Telemetry
from controlplane.mesh.metering import METERED, Metered, MetricRule, ScopedMetrics
from controlplane.mesh.metering import Metrics as Counted
from controlplane.mesh.scopes import Scope
from controlplane.translate.index import age
from controlplane.translate.metric_tags import STANDARD, fault_of_name, fault_of_value
from controlplane.translate.report import Report
from controlplane.translate.telemetry_levels import Levels
from protos.frozen import frozen

KINDS = (MeshConfigMap, Telemetry)
"""What of a snapshot decides."""

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

Mode = Literal["CLIENT", "SERVER"]


def build(snapshot: Snapshot, report: Report) -> tuple[ScopedMetrics, ...]:
    """The first whose scope takes a workload holds for it; without one, and where nobody says
    anything, all of Istio's metrics are counted."""
    settings = next(iter(snapshot.of(MeshConfigMap)), None)
    providers = _Providers.of(settings, report)
    levels = Levels()
    for item in sorted(snapshot.of(Telemetry), key=age):
        if item.spec.metrics:
            levels.add(item, report)
            _tell(item, providers, report)
    made = [ScopedMetrics(scope, _merged(items, providers)) for scope, items in levels.all()]
    if made and made[-1].scope == Scope():
        return tuple(made)
    default = _merged((), providers)
    if default == METERED and not made:
        return ()
    return (*made, ScopedMetrics(Scope(), default))


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


def _merged(items: Iterable[Telemetry], providers: _Providers) -> Metered:
    entries = [one for item in items for one in item.spec.metrics]
    named = [tuple(ref.name for ref in one.providers) for one in entries]
    last = next((names for names in reversed(named) if names), providers.default)
    ours = next((name for name in last if name in providers.counting), None)
    if ours is None:
        return Metered()
    interval_s = None
    changed: dict[Mode, dict[str, _Changed]] = {"CLIENT": {}, "SERVER": {}}
    current = providers.default
    for entry, names in zip(entries, named, strict=True):
        current = names or current
        if ours not in current:
            continue
        interval_s = entry.reporting_interval_s or interval_s
        for override in entry.overrides:
            _change(changed, override)
    return Metered(_counted(changed["CLIENT"], interval_s), _counted(changed["SERVER"], interval_s))


def _change(changed: Mapping[Mode, dict[str, _Changed]], override: MetricOverride) -> None:
    match = override.match
    if match.custom_metric:
        return
    every = match.metric in ("", "ALL_METRICS")
    for mode, metrics in changed.items():
        if match.mode not in (mode, "CLIENT_AND_SERVER"):
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


def _tell(item: Telemetry, providers: _Providers, report: Report) -> None:
    message = "spec.metrics holds for Weft's proxies; a plain Envoy has its own statistics alone"
    report.info(item, item.spec.at("metrics"), "WeftProxies", message)
    for entry in item.spec.metrics:
        for one in entry.providers:
            if one.name not in providers.counting:
                why = providers.why_not(one.name)
                report.error(item, one.position, "UnknownProvider", why)
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


@frozen
class _Providers:
    """counting: those that are Prometheus; known: all names."""

    default: tuple[str, ...]
    counting: frozenset[str]
    known: tuple[str, ...]

    @classmethod
    def of(cls, settings: MeshConfigMap | None, report: Report) -> _Providers:
        if settings is None:
            return cls((PROMETHEUS,), frozenset({PROMETHEUS}), (PROMETHEUS,))
        config = settings.data.mesh
        given = config.extension_providers
        others = {one.name for one in given if one.prometheus is None}
        counting = {PROMETHEUS, *(one.name for one in given)} - others
        known = tuple(sorted({PROMETHEUS, *(one.name for one in given)}))
        chosen = config.default_providers
        default = chosen.metrics if chosen is not None else None
        made = cls((PROMETHEUS,) if default is None else default, frozenset(counting), known)
        for name in made.default:
            if name not in counting and chosen is not None:
                message = f"defaultProviders.metrics: {made.why_not(name)}"
                report.error(settings, chosen.at("metrics"), "UnknownProvider", message)
        return made

    def why_not(self, name: str) -> str:
        if name in self.known:
            return f"the provider {name!r} is no prometheus, and nothing is counted for it"
        known = ", ".join(self.known)
        return f"the MeshConfig has no extensionProvider {name!r} (it has {known})"
