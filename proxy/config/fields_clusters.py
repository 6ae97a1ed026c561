"""Rows of the field table: clusters and their endpoints."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_CLUSTER = "envoy.config.cluster.v3."
_ENDPOINT = "envoy.config.endpoint.v3."
_STATISTICS = "it only adds statistics"
_UPSTREAM = "envoy.extensions.upstreams.http.v3."

CLUSTERS: Table = {
    _CLUSTER + "Cluster": Fields(
        "transport_socket_matches name alt_stat_name type eds_cluster_config connect_timeout "
        "per_connection_buffer_limit_bytes lb_policy load_assignment max_requests_per_connection "
        "circuit_breakers health_checks common_http_protocol_options http_protocol_options "
        "http2_protocol_options upstream_http_protocol_options protocol_selection "
        "preconnect_policy typed_extension_protocol_options dns_refresh_rate dns_jitter "
        "dns_failure_refresh_rate respect_dns_ttl dns_lookup_family dns_resolvers "
        "use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config cluster_type "
        "original_dst_lb_config cleanup_interval upstream_bind_config upstream_connection_options "
        "wait_for_warm_on_init outlier_detection least_request_lb_config "
        "round_robin_lb_config ring_hash_lb_config maglev_lb_config lb_subset_config "
        "common_lb_config transport_socket metadata "
        "close_connections_on_host_health_failure ignore_health_on_host_removal "
        "load_balancing_policy",
        {
            "lrs_report_endpoint_metrics": "it belongs to load reports, which are refused",
            "track_timeout_budgets": _STATISTICS,
            "track_cluster_stats": _STATISTICS,
        },
    ),
    _CLUSTER + "Cluster.EdsClusterConfig": Fields("eds_config service_name"),
    _CLUSTER + "Cluster.CommonLbConfig": Fields(
        "healthy_panic_threshold ignore_new_hosts_until_first_hc zone_aware_lb_config "
        "locality_weighted_lb_config consistent_hashing_lb_config override_host_status",
        {"update_merge_window": "changes of endpoints take effect at once"},
        {"close_connections_on_host_set_change": False},
    ),
    "envoy.config.core.v3.HealthStatusSet": Fields("statuses"),
    _CLUSTER + "Cluster.TransportSocketMatch": Fields("name match transport_socket"),
    _CLUSTER + "LoadBalancingPolicy": Fields("policies"),
    _CLUSTER + "LoadBalancingPolicy.Policy": Fields("typed_extension_config"),
    _CLUSTER + "Cluster.PreconnectPolicy": Fields(
        "per_upstream_preconnect_ratio predictive_preconnect_ratio"
    ),
    _UPSTREAM + "HttpProtocolOptions": Fields(
        "common_http_protocol_options upstream_http_protocol_options explicit_http_config "
        "use_downstream_protocol_config auto_config outlier_detection"
    ),
    _UPSTREAM + "HttpProtocolOptions.OutlierDetection": Fields("error_matcher"),
    "envoy.config.common.matcher.v3.MatchPredicate": Fields(
        "or_match and_match not_match any_match http_response_headers_match"
    ),
    "envoy.config.common.matcher.v3.MatchPredicate.MatchSet": Fields("rules"),
    "envoy.config.common.matcher.v3.HttpHeadersMatch": Fields("headers"),
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
    _ENDPOINT + "ClusterLoadAssignment.Policy": Fields(
        "overprovisioning_factor drop_overloads weighted_priority_health endpoint_stale_after"
    ),
    _ENDPOINT + "ClusterLoadAssignment.Policy.DropOverload": Fields(
        "drop_percentage", {"category": "only load reports, which are refused, tell them apart"}
    ),
    _ENDPOINT + "LocalityLbEndpoints": Fields(
        "locality lb_endpoints load_balancing_weight priority",
        {
            "metadata": "no part of this version reads metadata of a locality",
            "proximity": "Envoy does not use it either",
        },
    ),
    _ENDPOINT + "LbEndpoint": Fields("endpoint health_status metadata load_balancing_weight"),
    _ENDPOINT + "Endpoint": Fields("address hostname health_check_config additional_addresses"),
    _ENDPOINT + "Endpoint.AdditionalAddress": Fields("address"),
}
