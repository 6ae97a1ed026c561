"""Decodes who is told of spans: the provider of a manager's `tracing`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from envoy.config.core.v3 import extension_pb2, http_service_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2, zipkin_pb2
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import (
    environment_resource_detector_pb2,
    static_config_resource_detector_pb2,
)
from envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    always_on_sampler_pb2,
    parent_based_sampler_pb2,
    trace_id_ratio_based_sampler_pb2,
)

from proxy.config.decode_common import (
    enum_name,
    headers_to_add,
    percent,
    plain_text,
    type_name,
    unpack,
    unsupported_type,
    value_or,
)
from proxy.config.decode_services import http_uri, own_grpc_service
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import FractionalPercent
from proxy.config.model import tracing as model
from proxy.config.rejected import Rejected

_OTEL = opentelemetry_pb2.OpenTelemetryConfig
_ZIPKIN = zipkin_pb2.ZipkinConfig
_ENVIRONMENT = environment_resource_detector_pb2.EnvironmentResourceDetectorConfig
_STATIC = static_config_resource_detector_pb2.StaticConfigResourceDetectorConfig
_ALWAYS_ON = always_on_sampler_pb2.AlwaysOnSamplerConfig
_PARENT_BASED = parent_based_sampler_pb2.ParentBasedSamplerConfig
_RATIO = trace_id_ratio_based_sampler_pb2.TraceIdRatioBasedSamplerConfig
RESOURCE_VARIABLE = "OTEL_RESOURCE_ATTRIBUTES"


def provider(message: http_tracer_pb2.Tracing.Http, path: str) -> model.Provider:
    """`message` must be checked."""
    packed, where = message.typed_config, f"{path}.typed_config"
    if type_name(packed) == _ZIPKIN.DESCRIPTOR.full_name:
        return _zipkin(unpack(_ZIPKIN, packed, where), where)
    if type_name(packed) != _OTEL.DESCRIPTOR.full_name:
        known = (_OTEL.DESCRIPTOR.full_name, _ZIPKIN.DESCRIPTOR.full_name)
        raise unsupported_type(packed, where, known)
    return _opentelemetry(unpack(_OTEL, packed, where), where)


def _zipkin(message: zipkin_pb2.ZipkinConfig, path: str) -> model.ZipkinConfig:
    if message.collector_endpoint_version != _ZIPKIN.HTTP_JSON:
        name = enum_name(_ZIPKIN.CollectorEndpointVersion, message.collector_endpoint_version)
        where = f"{path}.collector_endpoint_version"
        raise Rejected(where, f"{name} is {UNSUPPORTED}; use HTTP_JSON")
    for name in ("collector_cluster", "collector_endpoint"):
        if not getattr(message, name):
            raise Rejected(f"{path}.{name}", "must not be empty")
    return model.ZipkinConfig(
        message.collector_cluster,
        message.collector_endpoint,
        message.collector_hostname,
        message.trace_id_128bit,
        value_or(message, "shared_span_context", True),
        message.trace_context_option == _ZIPKIN.USE_B3_WITH_W3C_PROPAGATION,
    )


def _opentelemetry(
    message: opentelemetry_pb2.OpenTelemetryConfig, path: str
) -> model.OpenTelemetryConfig:
    grpc, http = message.HasField("grpc_service"), message.HasField("http_service")
    if grpc == http:
        raise Rejected(path, "needs one of grpc_service and http_service")
    sampler: model.Sampler = ""
    ratio = None
    if message.HasField("sampler"):
        sampler, ratio = _sampler(message.sampler, f"{path}.sampler")
    return model.OpenTelemetryConfig(
        own_grpc_service(message.grpc_service, f"{path}.grpc_service") if grpc else None,
        http_service(message.http_service, f"{path}.http_service") if http else None,
        message.service_name or "unknown_service:envoy",
        _resource(message.resource_detectors, f"{path}.resource_detectors"),
        sampler,
        value_or(message, "max_cache_size", 1024),
        ratio,
    )


def http_service(message: http_service_pb2.HttpService, path: str) -> model.HttpService:
    """Its headers can say nothing of a request: there is none."""
    where = f"{path}.request_headers_to_add"
    added = headers_to_add(message.request_headers_to_add, where)
    return model.HttpService(
        http_uri(message.http_uri, f"{path}.http_uri"),
        tuple(
            (option.name.lower(), plain_text(option.value, f"{where}[{i}].header.value"))
            for i, option in enumerate(added)
        ),
    )


def _resource(
    messages: Iterable[extension_pb2.TypedExtensionConfig], path: str
) -> tuple[tuple[str, str], ...]:
    """Of several detectors the later ones count."""
    found: dict[str, str] = {}
    for i, message in enumerate(messages):
        packed, where = message.typed_config, f"{path}[{i}].typed_config"
        if type_name(packed) == _ENVIRONMENT.DESCRIPTOR.full_name:
            unpack(_ENVIRONMENT, packed, where)
            found.update(_of_environment())
        elif type_name(packed) == _STATIC.DESCRIPTOR.full_name:
            found.update(unpack(_STATIC, packed, where).attributes)
        else:
            known = (_ENVIRONMENT.DESCRIPTOR.full_name, _STATIC.DESCRIPTOR.full_name)
            raise unsupported_type(packed, where, known)
    return tuple(found.items())


def _of_environment() -> Mapping[str, str]:
    """`name=value,name=value`; values as they are written, as Envoy takes them."""
    pairs = (each.partition("=") for each in os.environ.get(RESOURCE_VARIABLE, "").split(","))
    return {name: value for name, equals, value in pairs if name and equals}


def _sampler(
    message: extension_pb2.TypedExtensionConfig, path: str
) -> tuple[model.Sampler, FractionalPercent | None]:
    """And the share of traces, where it takes one."""
    packed, where = message.typed_config, f"{path}.typed_config"
    name = type_name(packed)
    if name == _PARENT_BASED.DESCRIPTOR.full_name:
        inner = unpack(_PARENT_BASED, packed, where)
        return "parent_based", _sampler(inner.wrapped_sampler, f"{where}.wrapped_sampler")[1]
    if name == _RATIO.DESCRIPTOR.full_name:
        share = unpack(_RATIO, packed, where).sampling_percentage
        return "trace_id_ratio", percent(share, f"{where}.sampling_percentage")
    if name != _ALWAYS_ON.DESCRIPTOR.full_name:
        known = [one.DESCRIPTOR.full_name for one in (_ALWAYS_ON, _PARENT_BASED, _RATIO)]
        raise unsupported_type(packed, where, known)
    unpack(_ALWAYS_ON, packed, where)
    return "always_on", None
