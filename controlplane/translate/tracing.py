"""Telemetry and the MeshConfig -> which requests the proxies of which workloads make spans of.

As in Istio: whoever names a provider last counts, of several its first; and everything else that is
said of tracing stands over what a wider level says, field by field; without a provider there are no
spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from controlplane.inventory import Snapshot
from controlplane.kinds.mesh_config import MeshConfig, MeshConfigMap
from controlplane.kinds.objects import Object
from controlplane.kinds.telemetry import CustomTag, Telemetry, Tracing
from controlplane.kinds.trace_providers import (
    OpenTelemetryProvider,
    TracingSettings,
    ZipkinProvider,
)
from controlplane.mesh.model import Service
from controlplane.mesh.scopes import Scope
from controlplane.mesh.tracing import (
    NOT_TRACED,
    Collector,
    ScopedTraces,
    Spans,
    Traces,
    TraceTag,
)
from controlplane.translate.index import age
from controlplane.translate.log_formats import text_fault
from controlplane.translate.report import Report
from controlplane.translate.telemetry_levels import Levels
from protos.frozen import frozen

KINDS = (MeshConfigMap, Telemetry)
"""What of a snapshot decides."""

PERCENT = 1.0
"""Istio's, where nobody says how many."""

Mode = Literal["CLIENT", "SERVER"]


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
    """Istio: HOST, or NAMESPACE/HOST."""
    namespace, _, host = item.service.rpartition("/")
    host = host.rstrip(".").lower()
    service = known.get(host)
    if service is None or namespace not in ("", service.namespace):
        return Known(name, None, f"names {item.service!r}, which is no service of the mesh")
    if item.port not in {port.number for port in service.ports}:
        return Known(name, None, f"names the port {item.port}, which {host!r} does not have")
    return Known(name, Collector(host, item.port, max_path=item.max_tag_length))


def build(snapshot: Snapshot, known: tuple[Known, ...], report: Report) -> tuple[ScopedTraces, ...]:
    """The first whose scope takes a workload holds for it; without one there are no spans."""
    settings = next(iter(snapshot.of(MeshConfigMap)), None)
    providers = {one.name: one for one in known}
    default = _default(settings, providers, report)
    levels = Levels()
    for item in sorted(snapshot.of(Telemetry), key=age):
        if item.spec.tracing:
            levels.add(item, report)
            _tell(item, providers, report)
    made = []
    for scope, items in levels.all():
        made.append(ScopedTraces(scope, default.over(items, providers)))
        if not default.tells(items, providers):
            message = "spec.tracing has no effect: nobody is named who is told of spans"
            report.warning(items[-1], items[-1].spec.at("tracing"), "NoEffect", message)
    of_all = default.over((), providers)
    if of_all != NOT_TRACED and (not made or made[-1].scope != Scope()):
        made.append(ScopedTraces(Scope(), of_all))
    return tuple(made)


# --------------------------------------------------------------------------- merging


@frozen
class _Default:
    """What holds before any Telemetry says more."""

    provider: str
    base: Spans
    naming: Traces

    def over(self, items: Iterable[Telemetry], providers: Mapping[str, Known]) -> Traces:
        said = [one for item in items for one in item.spec.tracing]
        client = self._of_mode("CLIENT", said, providers)
        return replace(self.naming, client=client, server=self._of_mode("SERVER", said, providers))

    def tells(self, items: Iterable[Telemetry], providers: Mapping[str, Known]) -> bool:
        """Somebody is named, of whatever direction."""
        named = [one.name for item in items for each in item.spec.tracing for one in each.providers]
        return any(_is_there(name, providers) for name in (self.provider, *named))

    def _of_mode(
        self, mode: Mode, said: Iterable[Tracing], providers: Mapping[str, Known]
    ) -> Spans | None:
        name, spans, silent = self.provider, self.base, False
        for one in said:
            if one.match.mode not in (mode, "CLIENT_AND_SERVER"):
                continue
            told = [each.name for each in one.providers if _is_there(each.name, providers)]
            name = told[0] if told else name
            if one.disable_span_reporting is not None:
                silent = one.disable_span_reporting
            spans = _changed(spans, one)
        found = providers.get(name)
        if silent or found is None or found.collector is None:
            return None
        limit = found.collector.max_path or spans.max_path
        return replace(spans, collector=found.collector, max_path=limit)


def _is_there(name: str, providers: Mapping[str, Known]) -> bool:
    return name in providers and providers[name].collector is not None


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


# --------------------------------------------------------------------------- what is said


def _default(
    settings: MeshConfigMap | None, providers: Mapping[str, Known], report: Report
) -> _Default:
    nobody = Collector("", 0)
    if settings is None:
        return _Default("", Spans(nobody, PERCENT), NOT_TRACED)
    config = settings.data.mesh
    chosen = config.default_providers
    names = chosen.tracing if chosen is not None else ()
    for name in names:
        if chosen is not None and not _is_there(name, providers):
            message = f"defaultProviders.tracing: {_why_not(name, providers)}"
            report.error(settings, chosen.at("tracing"), "UnknownProvider", message)
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
    name = names[0] if names else ""
    return _Default(name, _base(config, nobody), _naming(config))


def _base(config: MeshConfig, nobody: Collector) -> Spans:
    said = config.default_config.tracing
    if said is None:
        return Spans(nobody, PERCENT)
    return Spans(
        nobody,
        PERCENT if said.sampling is None else said.sampling,
        _tags(said.custom_tags),
        said.enable_istio_tags is not False,
        max_path=said.max_path_tag_length,
    )


def _naming(config: MeshConfig) -> Traces:
    naming = config.default_config.tracing_service_name
    return replace(NOT_TRACED, naming=naming)


def _tell(item: Telemetry, providers: Mapping[str, Known], report: Report) -> None:
    """Of what it says there, what has no effect, and why."""
    for one in item.spec.tracing:
        for provider in one.providers:
            if not _is_there(provider.name, providers):
                why = _why_not(provider.name, providers)
                report.error(item, provider.position, "UnknownProvider", why)
        if one.disable_context_propagation:
            message = "disableContextPropagation has no effect: the trace always goes on"
            report.warning(item, one.at("disableContextPropagation"), "NoEffect", message)
        there = [each for each in one.providers if _is_there(each.name, providers)]
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


def _why_not(name: str, providers: Mapping[str, Known]) -> str:
    if name in providers:
        return f"the provider {name!r} {providers[name].fault}, and no spans are told by it"
    there = ", ".join(sorted(providers)) or "none"
    return f"the MeshConfig has no extensionProvider {name!r} (it has {there})"
