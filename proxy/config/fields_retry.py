"""Rows of the field table: retries, health checks, and what else keeps off failing hosts."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_ROUTE = "envoy.config.route.v3."
_HEDGE = "Envoy reads it and does nothing with it"
_BOOTSTRAP = "envoy.config.bootstrap.v3."
_CLUSTER = "envoy.config.cluster.v3."
_CHECK = "envoy.config.core.v3.HealthCheck"
_RETRY = "envoy.extensions.retry."

RETRY: Table = {
    _ROUTE + "RetryPolicy": Fields(
        "retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority "
        "retry_host_predicate host_selection_retry_max_attempts retriable_status_codes "
        "retry_back_off rate_limited_retry_back_off retriable_headers retriable_request_headers"
    ),
    _ROUTE + "RetryPolicy.RetryHostPredicate": Fields("name typed_config"),
    _ROUTE + "RetryPolicy.RetryPriority": Fields("name typed_config"),
    _ROUTE + "RetryPolicy.RetryBackOff": Fields("base_interval max_interval"),
    _ROUTE + "RetryPolicy.RateLimitedRetryBackOff": Fields("reset_headers max_interval"),
    _ROUTE + "RetryPolicy.ResetHeader": Fields("name format"),
    _RETRY + "host.previous_hosts.v3.PreviousHostsPredicate": Fields(),
    _RETRY + "host.omit_canary_hosts.v3.OmitCanaryHostsPredicate": Fields(),
    _RETRY + "host.omit_host_metadata.v3.OmitHostMetadataConfig": Fields("metadata_match"),
    _RETRY + "priority.previous_priorities.v3.PreviousPrioritiesConfig": Fields("update_frequency"),
    _ROUTE + "HedgePolicy": Fields(
        "hedge_on_per_try_timeout",
        {"initial_requests": _HEDGE, "additional_request_chance": _HEDGE},
    ),
    _CLUSTER + "CircuitBreakers": Fields("thresholds per_host_thresholds"),
    _CLUSTER + "CircuitBreakers.Thresholds": Fields(
        "priority max_connections max_pending_requests max_requests max_retries retry_budget "
        "track_remaining max_connection_pools"
    ),
    _CLUSTER + "CircuitBreakers.Thresholds.RetryBudget": Fields(
        "budget_percent min_retry_concurrency"
    ),
    _CLUSTER + "OutlierDetection": Fields(
        "consecutive_5xx interval base_ejection_time max_ejection_percent "
        "enforcing_consecutive_5xx enforcing_success_rate success_rate_minimum_hosts "
        "success_rate_request_volume success_rate_stdev_factor consecutive_gateway_failure "
        "enforcing_consecutive_gateway_failure split_external_local_origin_errors "
        "consecutive_local_origin_failure enforcing_consecutive_local_origin_failure "
        "enforcing_local_origin_success_rate failure_percentage_threshold "
        "enforcing_failure_percentage enforcing_failure_percentage_local_origin "
        "failure_percentage_minimum_hosts failure_percentage_request_volume max_ejection_time "
        "max_ejection_time_jitter successful_active_health_check_uneject_host "
        "always_eject_one_host"
    ),
    _CHECK: Fields(
        "timeout interval initial_jitter interval_jitter interval_jitter_percent "
        "unhealthy_threshold healthy_threshold reuse_connection http_health_check "
        "tcp_health_check grpc_health_check no_traffic_interval no_traffic_healthy_interval "
        "unhealthy_interval unhealthy_edge_interval healthy_edge_interval event_log_path "
        "event_logger always_log_health_check_failures always_log_health_check_success "
        "tls_options transport_socket_match_criteria",
        {"alt_port": "Envoy does not use it either; `health_check_config` of an endpoint does it"},
    ),
    _CHECK + ".Payload": Fields("text binary"),
    _CHECK + ".HttpHealthCheck": Fields(
        "host path send receive response_buffer_size request_headers_to_add "
        "request_headers_to_remove expected_statuses retriable_statuses codec_client_type "
        "service_name_matcher method"
    ),
    _CHECK + ".TcpHealthCheck": Fields("send receive"),
    _CHECK + ".GrpcHealthCheck": Fields("service_name authority initial_metadata"),
    _CHECK + ".TlsOptions": Fields("alpn_protocols"),
    "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink": Fields(
        "event_log_path"
    ),
    "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig": Fields(
        "port_value hostname address disable_active_health_check"
    ),
    _BOOTSTRAP + "ClusterManager": Fields(
        "local_cluster_name outlier_detection upstream_bind_config",
        {"enable_deferred_cluster_creation": "statistics and pools are made when they are needed"},
    ),
    _BOOTSTRAP + "ClusterManager.OutlierDetection": Fields("event_log_path"),
}
