"""Istio's Telemetry: what proxies of some workloads log, count and trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    boolean,
    enum,
    list_of,
    map_of,
    number,
    positive_duration,
    text,
)
from controlplane.kinds.http_match import HEADER_NAME
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required
from controlplane.kinds.selectors import (
    SELECTOR,
    TARGET_REF,
    TargetRef,
    WorkloadSelector,
    named,
    one_way_of_choosing,
)

Direction = Literal["CLIENT", "SERVER"]
Mode = Literal["CLIENT_AND_SERVER", Direction]
_MODE = enum("CLIENT_AND_SERVER", "CLIENT", "SERVER")
METRICS = (
    "ALL_METRICS",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
)


@record
class ProviderRef(Record):
    name: str = required(named)


@record
class ModeSelector(Record):
    mode: Mode = optional(_MODE, "CLIENT_AND_SERVER")

    def takes(self, direction: Direction) -> bool:
        return self.mode in (direction, "CLIENT_AND_SERVER")


# --------------------------------------------------------------------------- tracing


@record
class LiteralTag(Record):
    value: str = required(named)


@record
class NamedTag(Record):
    """Of an environment variable or a header."""

    name: str = required(named)
    default_value: str = optional(text, "")


@record
class HeaderTag(NamedTag):
    def check(self) -> Iterator[tuple[str, str]]:
        if not HEADER_NAME.fullmatch(self.name.removeprefix(":")):
            yield "name", f"{self.name!r} is no name of a header"


@record
class CustomTag(Record):
    literal: LiteralTag | None = optional(obj(LiteralTag))
    environment: NamedTag | None = optional(obj(NamedTag))
    header: HeaderTag | None = optional(obj(HeaderTag))
    formatter: LiteralTag | None = optional(obj(LiteralTag))

    def check(self) -> Iterator[tuple[str, str]]:
        kinds = ("literal", "environment", "header", "formatter")
        given = [key for key in kinds if getattr(self, key) is not None]
        if len(given) > 1:
            yield given[1], f"expected only one of {', '.join(kinds)}, got {' and '.join(given)}"


@record
class Tracing(Record):
    match: ModeSelector = optional(obj(ModeSelector), ModeSelector())
    providers: tuple[ProviderRef, ...] = optional(list_of(obj(ProviderRef)), ())
    random_sampling_percentage: float | None = optional(number(0, 100))
    disable_span_reporting: bool | None = optional(boolean)
    disable_context_propagation: bool | None = optional(boolean)
    custom_tags: Mapping[str, CustomTag] = optional(map_of(obj(CustomTag)), {})
    use_request_id_for_trace_sampling: bool | None = optional(boolean)
    enable_istio_tags: bool | None = optional(boolean)

    def check(self) -> Iterator[tuple[str, str]]:
        if "" in self.custom_tags:
            yield "customTags", "a tag needs a name"


# --------------------------------------------------------------------------- metrics


MAX_TAGS = 100
"""That a Telemetry overrides: each stands with each metric at each listener of a proxy, and what
they say makes samples."""


@record
class MetricMatch(ModeSelector):
    metric: str = optional(enum(*METRICS), "")
    custom_metric: str = optional(named, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.metric and self.custom_metric:
            yield "customMetric", "and metric exclude each other"


@record
class TagOverride(Record):
    operation: Literal["UPSERT", "REMOVE"] = optional(enum("UPSERT", "REMOVE"), "UPSERT")
    value: str = optional(text, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.operation == "UPSERT" and not self.value:
            yield "value", "UPSERT needs it"
        if self.operation == "REMOVE" and self.value:
            yield "value", "REMOVE has no use for it"


@record
class MetricOverride(Record):
    match: MetricMatch = optional(obj(MetricMatch), MetricMatch())
    disabled: bool | None = optional(boolean)
    tag_overrides: Mapping[str, TagOverride] = optional(map_of(obj(TagOverride)), {})


@record
class Metrics(Record):
    providers: tuple[ProviderRef, ...] = optional(list_of(obj(ProviderRef)), ())
    overrides: tuple[MetricOverride, ...] = optional(list_of(obj(MetricOverride)), ())
    reporting_interval_s: float | None = optional(positive_duration)


# --------------------------------------------------------------------------- access logs


@record
class LogFilter(Record):
    """expression: CEL."""

    expression: str = optional(text, "")


@record
class AccessLogging(Record):
    match: ModeSelector = optional(obj(ModeSelector), ModeSelector())
    providers: tuple[ProviderRef, ...] = optional(list_of(obj(ProviderRef)), ())
    disabled: bool | None = optional(boolean)
    filter: LogFilter | None = optional(obj(LogFilter))


@record
class TelemetrySpec(Record):
    selector: WorkloadSelector | None = optional(SELECTOR)
    target_ref: TargetRef | None = optional(TARGET_REF)
    target_refs: tuple[TargetRef, ...] = optional(list_of(TARGET_REF), ())
    tracing: tuple[Tracing, ...] = optional(list_of(obj(Tracing)), ())
    metrics: tuple[Metrics, ...] = optional(list_of(obj(Metrics)), ())
    access_logging: tuple[AccessLogging, ...] = optional(list_of(obj(AccessLogging)), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from one_way_of_choosing(self)
        tags = 0
        for i, metrics in enumerate(self.metrics):
            for j, override in enumerate(metrics.overrides):
                before, tags = tags, tags + len(override.tag_overrides)
                if before <= MAX_TAGS < tags:
                    place = f"metrics[{i}].overrides[{j}].tagOverrides"
                    yield place, f"with it there are more than {MAX_TAGS} tags in this Telemetry"


@record
class Telemetry(Object):
    API_VERSIONS = names("telemetry.istio.io/v1 telemetry.istio.io/v1alpha1")
    spec: TelemetrySpec = optional(obj(TelemetrySpec), TelemetrySpec())
