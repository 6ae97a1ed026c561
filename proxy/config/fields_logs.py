"""Rows of the field table: access logs and their filters."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_LOG = "envoy.config.accesslog.v3."
_LOGGERS = "envoy.extensions.access_loggers."

LOGS: Table = {
    _LOG + "AccessLog": Fields("name filter typed_config"),
    _LOG + "AccessLogFilter": Fields(
        "status_code_filter duration_filter not_health_check_filter runtime_filter and_filter "
        "or_filter header_filter response_flag_filter grpc_status_filter metadata_filter "
        "log_type_filter"
    ),
    _LOG + "ComparisonFilter": Fields("op value"),
    "envoy.config.core.v3.RuntimeUInt32": Fields("default_value runtime_key"),
    _LOG + "StatusCodeFilter": Fields("comparison"),
    _LOG + "DurationFilter": Fields("comparison"),
    _LOG + "NotHealthCheckFilter": Fields(),
    _LOG + "RuntimeFilter": Fields(
        "runtime_key percent_sampled",
        {"use_independent_randomness": "each line is drawn for by itself, never by the request id"},
    ),
    _LOG + "AndFilter": Fields("filters"),
    _LOG + "OrFilter": Fields("filters"),
    _LOG + "HeaderFilter": Fields("header"),
    _LOG + "ResponseFlagFilter": Fields("flags"),
    _LOG + "GrpcStatusFilter": Fields("statuses exclude"),
    _LOG + "MetadataFilter": Fields("matcher match_if_key_not_found"),
    _LOG + "LogTypeFilter": Fields("types exclude"),
    "envoy.extensions.formatter.metadata.v3.Metadata": Fields(),
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery": Fields(),
    _LOGGERS + "file.v3.FileAccessLog": Fields(
        "path format json_format typed_json_format log_format"
    ),
    _LOGGERS + "grpc.v3.HttpGrpcAccessLogConfig": Fields(
        "common_config additional_request_headers_to_log additional_response_headers_to_log "
        "additional_response_trailers_to_log"
    ),
    _LOGGERS + "grpc.v3.TcpGrpcAccessLogConfig": Fields("common_config"),
    _LOGGERS + "grpc.v3.CommonGrpcAccessLogConfig": Fields(
        "log_name grpc_service transport_api_version buffer_flush_interval buffer_size_bytes "
        "filter_state_objects_to_log custom_tags"
    ),
    _LOGGERS + "open_telemetry.v3.OpenTelemetryAccessLogConfig": Fields(
        "common_config disable_builtin_labels resource_attributes body attributes stat_prefix "
        "formatters"
    ),
    "opentelemetry.proto.common.v1.KeyValueList": Fields("values"),
    "opentelemetry.proto.common.v1.KeyValue": Fields("key value"),
    "opentelemetry.proto.common.v1.ArrayValue": Fields("values"),
    "opentelemetry.proto.common.v1.AnyValue": Fields("string_value array_value kvlist_value"),
    _LOGGERS + "stream.v3.StdoutAccessLog": Fields("log_format"),
    _LOGGERS + "stream.v3.StderrAccessLog": Fields("log_format"),
}
