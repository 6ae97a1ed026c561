"""The part of Istio's MeshConfig that says who is told of trace spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    PORT,
    boolean,
    enum,
    integer,
    line,
    list_of,
    map_of,
    matching,
    number,
    positive_duration,
    text,
)
from controlplane.kinds.http_match import HEADER_NAME
from controlplane.kinds.schema import Record, notes, obj, optional, record, required
from controlplane.kinds.selectors import named
from controlplane.kinds.telemetry import CustomTag

OTHERS = ("datadog", "lightstep", "opencensus", "skywalking")
WHY_NOT = "has no effect: spans are told by an opentelemetry or a zipkin provider"

_path = matching(r"/[!-~]*", "a path of visible ASCII that begins with '/'", 4096)


@record
class ProviderHeader(Record):
    """env_name: of the proxy's environment."""

    name: str = required(named)
    value: str = optional(line, "")
    env_name: str = optional(text, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if not HEADER_NAME.fullmatch(self.name) or self.name.lower() == "host":
            yield "name", f"{self.name!r} is not the name of a header that can be added"
        if bool(self.value) == bool(self.env_name):
            yield "value", "one of value and envName is needed"


@record
class OtlpHttp(Record):
    path: str = required(_path)
    timeout_s: float | None = optional(positive_duration)
    headers: tuple[ProviderHeader, ...] = optional(list_of(obj(ProviderHeader)), ())


@record
class OtlpGrpc(Record):
    timeout_s: float | None = optional(positive_duration)
    initial_metadata: tuple[ProviderHeader, ...] = optional(list_of(obj(ProviderHeader)), ())


@record
class EnvironmentDetector(Record):
    """Has no settings."""


@record
class ResourceDetectors(Record):
    NOTED = notes(dynatrace="has no effect: proxies do not know Dynatrace's files")
    environment: EnvironmentDetector | None = optional(obj(EnvironmentDetector))


@record
class OpenTelemetryProvider(Record):
    """service: a host, also as namespace/host."""

    NOTED = notes(dynatraceSampler="has no effect: proxies sample by share and by parent")
    service: str = required(named)
    port: int = required(PORT)
    max_tag_length: int = optional(integer(0, 2**32 - 1), 0)
    http: OtlpHttp | None = optional(obj(OtlpHttp))
    grpc: OtlpGrpc | None = optional(obj(OtlpGrpc))
    resource_detectors: ResourceDetectors | None = optional(obj(ResourceDetectors))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.http is not None and self.grpc is not None:
            yield "grpc", "and http exclude each other"
        http = self.http.headers if self.http is not None else ()
        grpc = self.grpc.initial_metadata if self.grpc is not None else ()
        for one in (*http, *grpc):
            if one.env_name:
                why = "envName: a proxy's environment is not read for headers; give the value"
                yield ("http" if one in http else "grpc"), why


@record
class ZipkinProvider(Record):
    """service: a host, also as namespace/host."""

    NOTED = notes(
        headers="has no effect: spans are posted as Zipkin wants them, without other headers",
        timeout="has no effect: five seconds, as everywhere",
    )
    service: str = required(named)
    port: int = required(PORT)
    max_tag_length: int = optional(integer(0, 2**32 - 1), 0)
    path: str = optional(_path, "/api/v2/spans")
    enable64bit_trace_id: bool = optional(boolean, False, key="enable64bitTraceId")
    trace_context_option: Literal["USE_B3", "USE_B3_WITH_W3C_PROPAGATION"] = optional(
        enum("USE_B3", "USE_B3_WITH_W3C_PROPAGATION"), "USE_B3"
    )


@record
class TracingSettings(Record):
    """ProxyConfig's `tracing`: how many requests, and what their spans say."""

    NOTED = notes(
        **dict.fromkeys(
            ("datadog", "lightstep", "openCensusAgent", "stackdriver", "tlsSettings", "zipkin"),
            "has no effect: spans go to what defaultProviders.tracing or a Telemetry names",
        )
    )
    sampling: float | None = optional(number(0, 100))
    custom_tags: Mapping[str, CustomTag] = optional(map_of(obj(CustomTag)), {})
    max_path_tag_length: int = optional(integer(0, 2**32 - 1), 0)
    enable_istio_tags: bool | None = optional(boolean)


ServiceName = Literal[
    "APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"
]
SERVICE_NAME = enum(
    "APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"
)
"""ProxyConfig's `tracingServiceName`: what a workload is called by who is told."""
