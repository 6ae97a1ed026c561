"""Rows of the field table: route configurations."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_ROUTE = "envoy.config.route.v3."
_EDITS = (
    "request_headers_to_add request_headers_to_remove response_headers_to_add "
    "response_headers_to_remove "
)
_METADATA = "no part of this version reads metadata here"
_SPAN = "it shapes a trace span; tracing itself is refused where it is configured"
_RATE_LIMIT = "only the rate limit filters read it; they are refused where they are configured"
_CORS = "only the CORS filter reads it; it is refused where it is configured"
_GRPC = "it is about gRPC, which needs HTTP/2; this version speaks HTTP/1.1"

ROUTES: Table = {
    _ROUTE + "RouteConfiguration": Fields(
        _EDITS + "name virtual_hosts internal_only_headers most_specific_header_mutations_wins "
        "validate_clusters max_direct_response_body_size_bytes ignore_port_in_host_matching",
        {"metadata": _METADATA},
    ),
    _ROUTE + "VirtualHost": Fields(
        _EDITS + "name domains routes require_tls include_request_attempt_count "
        "include_attempt_count_in_response retry_policy",
        {
            "virtual_clusters": "they only name statistics",
            "rate_limits": _RATE_LIMIT,
            "cors": _CORS,
            "metadata": _METADATA,
        },
    ),
    _ROUTE + "Route": Fields(
        _EDITS + "name match route redirect direct_response metadata stat_prefix",
        {"decorator": _SPAN, "tracing": _SPAN},
    ),
    _ROUTE + "RouteMatch": Fields(
        "prefix path safe_regex path_separated_prefix case_sensitive runtime_fraction headers "
        "query_parameters grpc"
    ),
    _ROUTE + "RouteMatch.GrpcRouteMatchOptions": Fields(),
    _ROUTE + "RouteAction": Fields(
        "cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite "
        "regex_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header "
        "append_x_forwarded_host timeout idle_timeout retry_policy priority max_stream_duration",
        {
            "early_data_policy": "Weft takes no TLS early data",
            "rate_limits": _RATE_LIMIT,
            "include_vh_rate_limits": _RATE_LIMIT,
            "hash_policy": "only hashing load balancers read it; they are refused in the cluster",
            "cors": _CORS,
            "max_grpc_timeout": _GRPC,
            "grpc_timeout_offset": _GRPC,
        },
    ),
    _ROUTE + "RouteAction.MaxStreamDuration": Fields(
        no_effect={"grpc_timeout_header_max": _GRPC, "grpc_timeout_header_offset": _GRPC},
        only={"max_stream_duration": 0.0},
    ),
    _ROUTE + "RedirectAction": Fields(
        "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite "
        "regex_rewrite response_code strip_query"
    ),
    _ROUTE + "DirectResponseAction": Fields("status body"),
    _ROUTE + "WeightedCluster": Fields(
        "clusters",
        {
            "total_weight": "the sum of the weights is taken",
            "runtime_key_prefix": "no runtime layer can change the weights",
        },
    ),
    _ROUTE + "WeightedCluster.ClusterWeight": Fields(_EDITS + "name weight host_rewrite_literal"),
    _ROUTE + "HeaderMatcher": Fields(
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match "
        "contains_match string_match invert_match treat_missing_header_as_empty"
    ),
    _ROUTE + "QueryParameterMatcher": Fields("name string_match present_match"),
}
