"""Rows of the field table: clusters and their endpoints."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_CLUSTER = "envoy.config.cluster.v3."
_ENDPOINT = "envoy.config.endpoint.v3."
_LB = "envoy.extensions.load_balancing_policies."
_HEALTH = "it belongs to active health checks, which are refused where they are configured"
_STATISTICS = "it only adds statistics"
_SUCCESS_RATE = "ejection by success rate is not done"
_FAILURES = "ejection by failure percentage is not done"
_UPSTREAM = "envoy.extensions.upstreams.http.v3."

CLUSTERS: Table = {
    _CLUSTER + "Cluster": Fields(
        "transport_socket_matches name alt_stat_name type eds_cluster_config connect_timeout "
        "per_connection_buffer_limit_bytes lb_policy load_assignment max_requests_per_connection "
        "circuit_breakers common_http_protocol_options http_protocol_options "
        "http2_protocol_options upstream_http_protocol_options protocol_selection "
        "preconnect_policy typed_extension_protocol_options dns_refresh_rate "
        "respect_dns_ttl dns_lookup_family outlier_detection least_request_lb_config "
        "round_robin_lb_config common_lb_config transport_socket metadata "
        "close_connections_on_host_health_failure ignore_health_on_host_removal "
        "load_balancing_policy",
        {
            "cleanup_interval": "it belongs to original destination clusters, which are refused",
            "lrs_report_endpoint_metrics": "it belongs to load reports, which are refused",
            "track_timeout_budgets": _STATISTICS,
            "track_cluster_stats": _STATISTICS,
        },
        {"wait_for_warm_on_init": True},
    ),
    _CLUSTER + "Cluster.EdsClusterConfig": Fields("eds_config service_name"),
    _CLUSTER + "Cluster.CommonLbConfig": Fields(
        "healthy_panic_threshold",
        {
            "zone_aware_lb_config": "it needs cluster_manager.local_cluster_name, which is refused",
            "update_merge_window": "changes of endpoints take effect at once",
            "ignore_new_hosts_until_first_hc": _HEALTH,
            "override_host_status": "it belongs to stateful sessions, which are refused",
        },
        {"close_connections_on_host_set_change": False},
    ),
    _CLUSTER + "Cluster.LeastRequestLbConfig": Fields("choice_count"),
    _CLUSTER + "Cluster.RoundRobinLbConfig": Fields(),
    _CLUSTER + "Cluster.TransportSocketMatch": Fields("name match transport_socket"),
    _CLUSTER + "LoadBalancingPolicy": Fields("policies"),
    _CLUSTER + "LoadBalancingPolicy.Policy": Fields("typed_extension_config"),
    _LB + "round_robin.v3.RoundRobin": Fields(),
    _LB + "random.v3.Random": Fields(),
    _LB + "least_request.v3.LeastRequest": Fields("choice_count"),
    _CLUSTER + "CircuitBreakers": Fields("thresholds"),
    _CLUSTER + "CircuitBreakers.Thresholds": Fields(
        "priority max_connections max_pending_requests max_requests max_retries retry_budget",
        {"track_remaining": _STATISTICS},
    ),
    _CLUSTER + "CircuitBreakers.Thresholds.RetryBudget": Fields(
        "budget_percent min_retry_concurrency"
    ),
    _CLUSTER + "OutlierDetection": Fields(
        "consecutive_5xx interval base_ejection_time max_ejection_percent "
        "enforcing_consecutive_5xx consecutive_gateway_failure "
        "enforcing_consecutive_gateway_failure split_external_local_origin_errors "
        "consecutive_local_origin_failure enforcing_consecutive_local_origin_failure "
        "max_ejection_time always_eject_one_host",
        {
            "success_rate_minimum_hosts": _SUCCESS_RATE,
            "success_rate_request_volume": _SUCCESS_RATE,
            "success_rate_stdev_factor": _SUCCESS_RATE,
            "failure_percentage_threshold": _FAILURES,
            "failure_percentage_minimum_hosts": _FAILURES,
            "failure_percentage_request_volume": _FAILURES,
            "successful_active_health_check_uneject_host": _HEALTH,
        },
        {
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_failure_percentage": 0,
            "enforcing_failure_percentage_local_origin": 0,
            "max_ejection_time_jitter": 0.0,
        },
    ),
    _CLUSTER + "Cluster.PreconnectPolicy": Fields(
        "per_upstream_preconnect_ratio predictive_preconnect_ratio"
    ),
    _UPSTREAM + "HttpProtocolOptions": Fields(
        "common_http_protocol_options upstream_http_protocol_options explicit_http_config "
        "use_downstream_protocol_config auto_config"
    ),
    _UPSTREAM + "HttpProtocolOptions.ExplicitHttpConfig": Fields(
        "http_protocol_options http2_protocol_options"
    ),
    _UPSTREAM + "HttpProtocolOptions.UseDownstreamHttpConfig": Fields(
        "http_protocol_options http2_protocol_options"
    ),
    _UPSTREAM + "HttpProtocolOptions.AutoHttpConfig": Fields(
        "http_protocol_options http2_protocol_options"
    ),
    "envoy.config.core.v3.UpstreamHttpProtocolOptions": Fields(
        "auto_sni auto_san_validation override_auto_sni_header"
    ),
    _ENDPOINT + "ClusterLoadAssignment": Fields("cluster_name endpoints policy"),
    _ENDPOINT + "ClusterLoadAssignment.Policy": Fields("overprovisioning_factor"),
    _ENDPOINT + "LocalityLbEndpoints": Fields(
        "locality lb_endpoints load_balancing_weight priority",
        {
            "metadata": "no part of this version reads metadata of a locality",
            "proximity": "Envoy does not use it either",
        },
    ),
    _ENDPOINT + "LbEndpoint": Fields("endpoint health_status metadata load_balancing_weight"),
    _ENDPOINT + "Endpoint": Fields("address hostname", {"health_check_config": _HEALTH}),
}
