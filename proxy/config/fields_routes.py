"""Rows of the field table: route configurations."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_ROUTE = "envoy.config.route.v3."
_TEMPLATE = "envoy.extensions.path."
_TREE = "xds.type.matcher.v3.Matcher"
_REDIRECT = "envoy.extensions.internal_redirect."
_EDITS = (
    "request_headers_to_add request_headers_to_remove response_headers_to_add "
    "response_headers_to_remove "
)
_SPAN = "a copy's headers are those of the request, with its trace as it was sampled"
_METADATA = "only the metadata of routes is read by anything here"

ROUTES: Table = {
    _ROUTE + "RouteConfiguration": Fields(
        _EDITS + "name virtual_hosts internal_only_headers most_specific_header_mutations_wins "
        "validate_clusters max_direct_response_body_size_bytes ignore_port_in_host_matching "
        "ignore_path_parameters_in_path_matching vhost_header request_mirror_policies "
        "typed_per_filter_config vhds",
        {"metadata": _METADATA},
    ),
    _ROUTE + "Vhds": Fields("config_source"),
    _ROUTE + "VirtualHost": Fields(
        _EDITS + "name domains routes matcher require_tls include_request_attempt_count "
        "include_attempt_count_in_response include_is_timeout_retry_header retry_policy "
        "hedge_policy "
        "request_mirror_policies virtual_clusters per_request_buffer_limit_bytes "
        "request_body_buffer_limit typed_per_filter_config cors rate_limits",
        {"metadata": _METADATA},
    ),
    _ROUTE + "VirtualCluster": Fields("name headers"),
    _ROUTE + "RouteList": Fields("routes"),
    _TREE: Fields("matcher_list matcher_tree on_no_match"),
    _TREE + ".OnMatch": Fields("action"),
    _TREE + ".MatcherList": Fields("matchers"),
    _TREE + ".MatcherList.FieldMatcher": Fields("predicate on_match"),
    _TREE + ".MatcherList.Predicate": Fields("single_predicate or_matcher and_matcher not_matcher"),
    _TREE + ".MatcherList.Predicate.SinglePredicate": Fields("input value_match custom_match"),
    _TREE + ".MatcherList.Predicate.PredicateList": Fields("predicate"),
    _TREE + ".MatcherTree": Fields("input exact_match_map prefix_match_map"),
    _TREE + ".MatcherTree.MatchMap": Fields("map"),
    "xds.core.v3.TypedExtensionConfig": Fields("name typed_config"),
    "xds.type.matcher.v3.StringMatcher": Fields(
        "exact prefix suffix safe_regex contains ignore_case"
    ),
    "xds.type.matcher.v3.RegexMatcher": Fields("regex", {"google_re2": "RE2 is the only engine"}),
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput": Fields("header_name"),
    _ROUTE + "CorsPolicy": Fields(
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age "
        "allow_credentials filter_enabled shadow_enabled allow_private_network_access "
        "forward_not_matching_preflights"
    ),
    _ROUTE + "Route": Fields(
        _EDITS + "name match route redirect direct_response non_forwarding_action metadata "
        "stat_prefix per_request_buffer_limit_bytes request_body_buffer_limit "
        "typed_per_filter_config decorator tracing",
    ),
    _ROUTE + "NonForwardingAction": Fields(),
    _ROUTE + "RouteMatch": Fields(
        "prefix path safe_regex path_separated_prefix path_match_policy connect_matcher "
        "case_sensitive runtime_fraction headers query_parameters grpc tls_context "
        "dynamic_metadata filter_state"
    ),
    _ROUTE + "RouteMatch.GrpcRouteMatchOptions": Fields(),
    _ROUTE + "RouteMatch.ConnectMatcher": Fields(),
    _ROUTE + "RouteMatch.TlsContextMatchOptions": Fields("presented validated"),
    _TEMPLATE + "match.uri_template.v3.UriTemplateMatchConfig": Fields("path_template"),
    _TEMPLATE + "rewrite.uri_template.v3.UriTemplateRewriteConfig": Fields("path_template_rewrite"),
    _ROUTE + "RouteAction": Fields(
        "cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match "
        "prefix_rewrite regex_rewrite path_rewrite_policy host_rewrite_literal auto_host_rewrite "
        "host_rewrite_header host_rewrite_path_regex append_x_forwarded_host timeout idle_timeout "
        "max_stream_duration max_grpc_timeout grpc_timeout_offset retry_policy "
        "hedge_policy "
        "request_mirror_policies priority hash_policy upgrade_configs internal_redirect_policy "
        "internal_redirect_action max_internal_redirects cors rate_limits "
        "include_vh_rate_limits",
        {
            "early_data_policy": "Weft takes no TLS early data",
        },
    ),
    "envoy.extensions.early_data.v3.DefaultEarlyDataPolicy": Fields(),
    _ROUTE + "RouteAction.RequestMirrorPolicy": Fields(
        "cluster cluster_header runtime_fraction disable_shadow_host_suffix_append "
        "request_headers_mutations host_rewrite_literal",
        {"trace_sampled": _SPAN},
    ),
    _ROUTE + "RouteAction.HashPolicy": Fields(
        "header cookie connection_properties query_parameter filter_state terminal"
    ),
    _ROUTE + "RouteAction.HashPolicy.Header": Fields("header_name regex_rewrite"),
    _ROUTE + "RouteAction.HashPolicy.Cookie": Fields("name ttl path attributes"),
    _ROUTE + "RouteAction.HashPolicy.CookieAttribute": Fields("name value"),
    _ROUTE + "RouteAction.HashPolicy.ConnectionProperties": Fields("source_ip"),
    _ROUTE + "RouteAction.HashPolicy.QueryParameter": Fields("name"),
    _ROUTE + "RouteAction.HashPolicy.FilterState": Fields("key"),
    _ROUTE + "RouteAction.UpgradeConfig": Fields("upgrade_type enabled connect_config"),
    _ROUTE + "RouteAction.UpgradeConfig.ConnectConfig": Fields("proxy_protocol_config allow_post"),
    _ROUTE + "RouteAction.MaxStreamDuration": Fields(
        "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset"
    ),
    _ROUTE + "InternalRedirectPolicy": Fields(
        "max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect "
        "response_headers_to_copy"
    ),
    _REDIRECT + "allow_listed_routes.v3.AllowListedRoutesConfig": Fields("allowed_route_names"),
    _REDIRECT + "previous_routes.v3.PreviousRoutesConfig": Fields(),
    _REDIRECT + "safe_cross_scheme.v3.SafeCrossSchemeConfig": Fields(),
    _ROUTE + "RedirectAction": Fields(
        "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite "
        "regex_rewrite response_code strip_query"
    ),
    _ROUTE + "DirectResponseAction": Fields("status body body_format"),
    _ROUTE + "WeightedCluster": Fields(
        "clusters runtime_key_prefix header_name use_hash_policy",
        {"total_weight": "the sum of the weights is taken"},
    ),
    _ROUTE + "WeightedCluster.ClusterWeight": Fields(
        _EDITS + "name cluster_header weight metadata_match host_rewrite_literal "
        "typed_per_filter_config"
    ),
    _ROUTE + "HeaderMatcher": Fields(
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match "
        "contains_match string_match invert_match treat_missing_header_as_empty"
    ),
    _ROUTE + "QueryParameterMatcher": Fields("name string_match present_match"),
}
