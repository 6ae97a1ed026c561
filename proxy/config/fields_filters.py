"""Rows of the field table: HTTP filters, one row per message of each supported filter."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_HTTP = "envoy.extensions.filters.http."
_FAULT = "envoy.extensions.filters.common.fault.v3."
_BUFFER = _HTTP + "buffer.v3."
_CORS = _HTTP + "cors.v3."
_MUTATION = _HTTP + "header_mutation.v3."
_ROUTER = _HTTP + "router.v3.Router"
_CORE = "envoy.config.core.v3."
_SESSION = _HTTP + "stateful_session.v3."
_STATE = "envoy.extensions.http.stateful_session."

FILTERS: Table = {
    _BUFFER + "Buffer": Fields("max_request_bytes"),
    _BUFFER + "BufferPerRoute": Fields("disabled buffer"),
    _CORS + "Cors": Fields(),
    _CORS + "CorsPolicy": Fields(
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age "
        "allow_credentials filter_enabled shadow_enabled allow_private_network_access "
        "forward_not_matching_preflights"
    ),
    _HTTP + "fault.v3.HTTPFault": Fields(
        "delay abort upstream_cluster headers downstream_nodes max_active_faults "
        "response_rate_limit delay_percent_runtime abort_percent_runtime delay_duration_runtime "
        "abort_http_status_runtime max_active_faults_runtime response_rate_limit_percent_runtime "
        "abort_grpc_status_runtime disable_downstream_cluster_stats filter_metadata"
    ),
    _HTTP + "fault.v3.FaultAbort": Fields("http_status grpc_status header_abort percentage"),
    _HTTP + "fault.v3.FaultAbort.HeaderAbort": Fields(),
    _FAULT + "FaultDelay": Fields("fixed_delay header_delay percentage"),
    _FAULT + "FaultDelay.HeaderDelay": Fields(),
    _FAULT + "FaultRateLimit": Fields("fixed_limit header_limit percentage"),
    _FAULT + "FaultRateLimit.FixedLimit": Fields("limit_kbps"),
    _FAULT + "FaultRateLimit.HeaderLimit": Fields(),
    _HTTP + "grpc_stats.v3.FilterConfig": Fields(
        "emit_filter_state individual_method_stats_allowlist stats_for_all_methods "
        "enable_upstream_stats replace_dots_in_grpc_service_name"
    ),
    _CORE + "GrpcMethodList": Fields("services"),
    _CORE + "GrpcMethodList.Service": Fields("name method_names"),
    _MUTATION + "HeaderMutation": Fields("mutations most_specific_header_mutations_wins"),
    _MUTATION + "HeaderMutationPerRoute": Fields("mutations"),
    _MUTATION + "Mutations": Fields(
        "request_mutations query_parameter_mutations response_mutations "
        "response_trailers_mutations request_trailers_mutations"
    ),
    "envoy.config.common.mutation_rules.v3.HeaderMutation": Fields("remove append remove_on_match"),
    "envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch": Fields("key_matcher"),
    _CORE + "KeyValueMutation": Fields("append remove"),
    _CORE + "KeyValueAppend": Fields("record action"),
    _CORE + "KeyValuePair": Fields("key value"),
    _HTTP + "health_check.v3.HealthCheck": Fields(
        "pass_through_mode cache_time cluster_min_healthy_percentages headers"
    ),
    _HTTP + "local_ratelimit.v3.LocalRateLimit": Fields(
        "stat_prefix status token_bucket filter_enabled filter_enforced "
        "request_headers_to_add_when_not_enforced response_headers_to_add descriptors stage "
        "local_rate_limit_per_downstream_connection enable_x_ratelimit_headers vh_rate_limits "
        "always_consume_default_token_bucket rate_limited_as_resource_exhausted rate_limits "
        "max_dynamic_descriptors"
    ),
    _HTTP + "on_demand.v3.OnDemand": Fields("odcds"),
    _HTTP + "on_demand.v3.PerRouteConfig": Fields("odcds"),
    _HTTP + "on_demand.v3.OnDemandCds": Fields("source timeout"),
    _HTTP + "peak_ewma.v3alpha.PeakEwmaConfig": Fields(),
    _HTTP + "rbac.v3.RBAC": Fields(
        "rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats "
        "matcher shadow_matcher"
    ),
    _HTTP + "rbac.v3.RBACPerRoute": Fields("rbac"),
    _ROUTER: Fields(
        "suppress_envoy_headers strict_check_headers respect_expected_rq_timeout",
        {"dynamic_stats": "which statistics exist is Weft's own matter"},
        {"start_child_span": False},
    ),
    _HTTP + "set_filter_state.v3.Config": Fields("on_request_headers"),
    "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue": Fields(
        "object_key factory_key format_string skip_if_empty",
        {"read_only": "nothing here changes a filter state that is there"},
        {"shared_with_upstream": 0},
    ),
    _SESSION + "StatefulSession": Fields("session_state strict stat_prefix"),
    _SESSION + "StatefulSessionPerRoute": Fields("disabled stateful_session"),
    _STATE + "cookie.v3.CookieBasedSessionState": Fields("cookie"),
    _STATE + "envelope.v3.EnvelopeSessionState": Fields("header"),
    _STATE + "envelope.v3.EnvelopeSessionState.Header": Fields("name"),
    _STATE + "header.v3.HeaderBasedSessionState": Fields("name"),
    "envoy.type.http.v3.Cookie": Fields("name ttl path attributes"),
    "envoy.type.http.v3.CookieAttribute": Fields("name value"),
    _HTTP + "set_metadata.v3.Config": Fields("metadata_namespace value metadata"),
    _HTTP + "set_metadata.v3.Metadata": Fields("metadata_namespace allow_overwrite value"),
}
