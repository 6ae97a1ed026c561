"""Telemetry and the MeshConfig -> which requests the proxies of which workloads make spans of.

As in Istio: whoever names a provider last counts, of several its first; and everything else that is
said of tracing stands over what a wider level says, field by field; without a provider there are no
spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from controlplane.inventory import Snapshot
from controlplane.kinds.mesh_config import MeshConfig, MeshConfigMap
from controlplane.kinds.objects import Object
from controlplane.kinds.telemetry import CustomTag, Direction, Telemetry, Tracing
from controlplane.kinds.trace_providers import (
    OpenTelemetryProvider,
    TracingSettings,
    ZipkinProvider,
)
from controlplane.mesh.model import Service
from controlplane.mesh.tracing import (
    NOT_TRACED,
    Collector,
    ScopedTraces,
    Spans,
    Traces,
    TraceTag,
)
from controlplane.translate.log_formats import text_fault
from controlplane.translate.report import Report
from controlplane.translate.telemetry_levels import levels, saying, scoped, settings_of
from controlplane.translate.telemetry_providers import Providers, host_of
from protos.frozen import frozen

PERCENT = 1.0
"""Istio's, where nobody says how many."""

_NOBODY = Collector("", 0)


@frozen
class Known:
    """A provider of the MeshConfig. fault: why nobody can be told by it, '' if they can."""

    name: str
    collector: Collector | None
    fault: str = ""


def collectors(
    configs: tuple[MeshConfigMap, ...], services: tuple[Service, ...]
) -> tuple[Known, ...]:
    """Of all providers, so that it can be said of each why it is none for spans."""
    config = next((one.data.mesh for one in configs), None)
    if config is None or not config.extension_providers:
        return ()
    known = {service.hostname: service for service in services}
    found = []
    for one in config.extension_providers:
        if one.opentelemetry is not None:
            found.append(_over_otlp(one.name, one.opentelemetry, known))
        elif one.zipkin is not None:
            found.append(_to_zipkin(one.name, one.zipkin, known))
        else:
            found.append(Known(one.name, None, "is neither opentelemetry nor zipkin"))
    return tuple(found)


def _to_zipkin(name: str, item: ZipkinProvider, known: Mapping[str, Service]) -> Known:
    found = _there(name, item, known)
    if found.collector is None:
        return found
    w3c = item.trace_context_option == "USE_B3_WITH_W3C_PROPAGATION"
    long_ids, path = not item.enable64bit_trace_id, item.path
    made = replace(found.collector, zipkin=True, path=path, long_ids=long_ids, w3c=w3c)
    return Known(name, made)


def _over_otlp(name: str, item: OpenTelemetryProvider, known: Mapping[str, Service]) -> Known:
    found = _there(name, item, known)
    if (made := found.collector) is None:
        return found
    detectors = item.resource_detectors
    made = replace(made, detects=detectors is not None and detectors.environment is not None)
    if (http := item.http) is not None:
        headers = tuple((one.name, one.value) for one in http.headers)
        return Known(name, replace(made, path=http.path, timeout_s=http.timeout_s, headers=headers))
    if (grpc := item.grpc) is not None:
        headers = tuple((one.name, one.value) for one in grpc.initial_metadata)
        made = replace(made, timeout_s=grpc.timeout_s, headers=headers)
    return Known(name, made)


def _there(
    name: str, item: OpenTelemetryProvider | ZipkinProvider, known: Mapping[str, Service]
) -> Known:
    host, fault = host_of(item, known)
    if fault:
        return Known(name, None, f"reaches nobody ({fault})")
    return Known(name, Collector(host, item.port, max_path=item.max_tag_length))


def build(snapshot: Snapshot, known: tuple[Known, ...], report: Report) -> tuple[ScopedTraces, ...]:
    """Where none of them is for a workload there are no spans."""
    settings = settings_of(snapshot)
    providers = Providers({one.name: one.fault for one in known}, "no spans are told by it")
    default = _default(settings, known)
    _tell_default(settings, providers, report)
    items = saying(snapshot, lambda spec: spec.tracing)
    for item in items:
        _tell(item, providers, report)
    found = levels(items, report)
    for _, holding in found:
        if not default.tells(holding):
            message = "spec.tracing has no effect: nobody is named who is told of spans"
            report.warning(holding[-1], holding[-1].spec.at("tracing"), "NoEffect", message)
    return scoped(found, default.over, NOT_TRACED, ScopedTraces)


# --------------------------------------------------------------------------- merging


@frozen
class _Default:
    """What holds before any Telemetry says more. collectors: of the providers that have one."""

    provider: str
    base: Spans
    naming: Traces
    collectors: Mapping[str, Collector]

    def over(self, items: Iterable[Telemetry]) -> Traces:
        said = [one for item in items for one in item.spec.tracing]
        client = self._of_direction("CLIENT", said)
        return replace(self.naming, client=client, server=self._of_direction("SERVER", said))

    def tells(self, items: Iterable[Telemetry]) -> bool:
        """Somebody is named, of whatever direction."""
        named = [one.name for item in items for each in item.spec.tracing for one in each.providers]
        return any(name in self.collectors for name in (self.provider, *named))

    def _of_direction(self, direction: Direction, said: Iterable[Tracing]) -> Spans | None:
        name, spans, silent = self.provider, self.base, False
        for one in said:
            if not one.match.takes(direction):
                continue
            told = (each.name for each in one.providers if each.name in self.collectors)
            name = next(told, name)
            if one.disable_span_reporting is not None:
                silent = one.disable_span_reporting
            spans = _changed(spans, one)
        collector = self.collectors.get(name)
        if silent or collector is None:
            return None
        limit = collector.max_path or spans.max_path
        return replace(spans, collector=collector, max_path=limit)


def _changed(spans: Spans, said: Tracing) -> Spans:
    percent, by_id = said.random_sampling_percentage, said.use_request_id_for_trace_sampling
    tells = said.enable_istio_tags
    return replace(
        spans,
        percent=spans.percent if percent is None else percent,
        tags=_tags(said.custom_tags) if "customTags" in said.where else spans.tags,
        by_id=spans.by_id if by_id is None else by_id,
        tells_workload=spans.tells_workload if tells is None else tells,
    )


def _tags(given: Mapping[str, CustomTag]) -> tuple[TraceTag, ...]:
    """Sorted, as Istio's. Those whose format a proxy would refuse are left out."""
    found = (_tag(name, given[name]) for name in sorted(given))
    return tuple(one for one in found if one is not None)


def _tag(name: str, tag: CustomTag) -> TraceTag | None:
    if tag.literal is not None:
        return TraceTag(name, "literal", tag.literal.value)
    if tag.formatter is not None:
        value = tag.formatter.value
        return None if text_fault(value) else TraceTag(name, "formatter", value)
    if (header := tag.header) is not None:
        return TraceTag(name, "header", header.name, header.default_value)
    if (variable := tag.environment) is not None:
        return TraceTag(name, "environment", variable.name, variable.default_value)
    return None


def _default(settings: MeshConfigMap | None, known: Iterable[Known]) -> _Default:
    collectors = {one.name: one.collector for one in known if one.collector is not None}
    if settings is None:
        return _Default("", Spans(_NOBODY, PERCENT), NOT_TRACED, collectors)
    config = settings.data.mesh
    chosen = config.default_providers
    names = chosen.tracing if chosen is not None else ()
    naming = replace(NOT_TRACED, naming=config.default_config.tracing_service_name)
    return _Default(names[0] if names else "", _base(config), naming, collectors)


def _base(config: MeshConfig) -> Spans:
    said = config.default_config.tracing
    if said is None:
        return Spans(_NOBODY, PERCENT)
    return Spans(
        _NOBODY,
        PERCENT if said.sampling is None else said.sampling,
        _tags(said.custom_tags),
        said.enable_istio_tags is not False,
        max_path=said.max_path_tag_length,
    )


# --------------------------------------------------------------------------- what is said


def _tell_default(settings: MeshConfigMap | None, providers: Providers, report: Report) -> None:
    if settings is None:
        return
    config = settings.data.mesh
    chosen = config.default_providers
    names = chosen.tracing if chosen is not None else ()
    providers.tell_defaults(settings, "tracing", names, report)
    if config.enable_tracing and not names:
        message = (
            "enableTracing: nobody is named who is told; spans are made where "
            "defaultProviders.tracing or a Telemetry names an extensionProvider"
        )
        report.warning(settings, config.at("enableTracing"), "NoEffect", message)
    for name in names[1:]:
        message = f"defaultProviders.tracing: spans go to {names[0]!r} alone, not to {name!r}"
        report.warning(settings, config.at("defaultProviders"), "NoEffect", message)
    if config.default_config.tracing is not None:
        _tell_tags(settings, config.default_config.tracing, report)


def _tell(item: Telemetry, providers: Providers, report: Report) -> None:
    """Of what it says there, what has no effect, and why."""
    for one in item.spec.tracing:
        providers.tell(item, one.providers, report)
        if one.disable_context_propagation:
            message = "disableContextPropagation has no effect: the trace always goes on"
            report.warning(item, one.at("disableContextPropagation"), "NoEffect", message)
        there = [each for each in one.providers if each.name in providers]
        for provider in there[1:]:
            message = f"{provider.name!r} is told of nothing: spans go to {there[0].name!r} alone"
            report.warning(item, provider.position, "NoEffect", message)
        _tell_tags(item, one, report)


def _tell_tags(item: Object, said: Tracing | TracingSettings, report: Report) -> None:
    for name, tag in said.custom_tags.items():
        place = said.at("customTags")
        fault = text_fault(tag.formatter.value) if tag.formatter is not None else ""
        if fault:
            message = f"customTags: {name!r}: {fault}; the tag is left out"
            report.error(item, place, "InvalidFormat", message)
        elif _tag(name, tag) is None:
            message = f"customTags: {name!r} has no value: the tag is left out"
            report.warning(item, place, "NoEffect", message)
