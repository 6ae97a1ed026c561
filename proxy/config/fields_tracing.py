"""Rows of the field table: which requests are traced, and who is told."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager."
_TAG = "envoy.type.tracing.v3.CustomTag"
_METADATA = "envoy.type.metadata.v3."
_TRACE = "envoy.config.trace.v3."
_OTEL = "envoy.extensions.tracers.opentelemetry."

TRACING: Table = {
    _HCM + "Tracing": Fields(
        "client_sampling random_sampling overall_sampling verbose max_path_tag_length custom_tags "
        "provider operation upstream_operation spawn_upstream_span",
    ),
    "envoy.config.route.v3.Tracing": Fields(
        "client_sampling random_sampling overall_sampling custom_tags operation upstream_operation"
    ),
    "envoy.config.route.v3.Decorator": Fields("operation propagate"),
    _TAG: Fields("tag literal environment request_header metadata value"),
    _TAG + ".Literal": Fields("value"),
    _TAG + ".Environment": Fields("name default_value"),
    _TAG + ".Header": Fields("name default_value"),
    _TAG + ".Metadata": Fields("kind metadata_key default_value"),
    _METADATA + "MetadataKey": Fields("key path"),
    _METADATA + "MetadataKey.PathSegment": Fields("key"),
    _METADATA + "MetadataKind": Fields("request route cluster host"),
    _METADATA + "MetadataKind.Request": Fields(),
    _METADATA + "MetadataKind.Route": Fields(),
    _METADATA + "MetadataKind.Cluster": Fields(),
    _METADATA + "MetadataKind.Host": Fields(),
    _TRACE + "Tracing.Http": Fields("name typed_config"),
    _TRACE + "ZipkinConfig": Fields(
        "collector_cluster collector_endpoint trace_id_128bit shared_span_context "
        "collector_endpoint_version collector_hostname trace_context_option",
        {},
        {"split_spans_for_request": False},
    ),
    _TRACE + "OpenTelemetryConfig": Fields(
        "grpc_service http_service service_name resource_detectors sampler max_cache_size"
    ),
    _OTEL + "resource_detectors.v3.EnvironmentResourceDetectorConfig": Fields(),
    _OTEL + "resource_detectors.v3.StaticConfigResourceDetectorConfig": Fields("attributes"),
    _OTEL + "samplers.v3.AlwaysOnSamplerConfig": Fields(),
    _OTEL + "samplers.v3.ParentBasedSamplerConfig": Fields("wrapped_sampler"),
    _OTEL + "samplers.v3.TraceIdRatioBasedSamplerConfig": Fields("sampling_percentage"),
    "envoy.config.core.v3.HttpService": Fields("http_uri request_headers_to_add"),
}
