"""Rows of the field table: who may pass: tokens, authorization services, whom to ask and how."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_CORE = "envoy.config.core.v3."
_AUTHZ = "envoy.extensions.filters.http.ext_authz.v3."
_JWT = "envoy.extensions.filters.http.jwt_authn.v3."

_UNTYPED = "metadata has no typed values in Weft: it would never be there to be passed on"

AUTH: Table = {
    "google.protobuf.Empty": Fields(),
    _CORE + "RuntimeFeatureFlag": Fields("default_value runtime_key"),
    _CORE + "HttpUri": Fields("uri cluster timeout"),
    _CORE + "RetryPolicy": Fields("retry_back_off num_retries retry_on"),
    _CORE + "BackoffStrategy": Fields("base_interval max_interval"),
    _CORE + "GrpcService": Fields("envoy_grpc initial_metadata timeout retry_policy"),
    _CORE + "GrpcService.EnvoyGrpc": Fields(
        "cluster_name authority max_receive_message_length retry_policy skip_envoy_headers"
    ),
    _AUTHZ + "ExtAuthz": Fields(
        "grpc_service http_service transport_api_version failure_mode_allow "
        "failure_mode_allow_header_add with_request_body clear_route_cache status_on_error "
        "validate_mutations metadata_context_namespaces route_metadata_context_namespaces "
        "filter_enabled filter_enabled_metadata deny_at_disable include_peer_certificate "
        "stat_prefix allowed_headers disallowed_headers include_tls_session "
        "charge_cluster_response_stats encode_raw_headers enable_dynamic_metadata_ingestion "
        "max_denied_response_body_bytes decoder_header_mutation_rules",
        {
            "typed_metadata_context_namespaces": _UNTYPED,
            "route_typed_metadata_context_namespaces": _UNTYPED,
        },
    ),
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz": Fields(
        "stat_prefix grpc_service failure_mode_allow include_peer_certificate "
        "transport_api_version filter_enabled_metadata include_tls_session "
        "metadata_context_namespaces",
        {"typed_metadata_context_namespaces": _UNTYPED},
    ),
    "envoy.config.common.mutation_rules.v3.HeaderMutationRules": Fields(
        "allow_all_routing allow_envoy disallow_system disallow_all allow_expression "
        "disallow_expression disallow_is_error"
    ),
    _AUTHZ + "BufferSettings": Fields("max_request_bytes allow_partial_message pack_as_bytes"),
    _AUTHZ + "HttpService": Fields(
        "server_uri path_prefix authorization_request authorization_response retry_policy"
    ),
    _AUTHZ + "AuthorizationRequest": Fields("allowed_headers headers_to_add"),
    _AUTHZ + "AuthorizationResponse": Fields(
        "allowed_upstream_headers allowed_upstream_headers_to_append allowed_client_headers "
        "allowed_client_headers_on_success dynamic_metadata_from_headers"
    ),
    _AUTHZ + "ExtAuthzPerRoute": Fields("disabled check_settings"),
    _AUTHZ + "CheckSettings": Fields(
        "context_extensions disable_request_body_buffering with_request_body grpc_service "
        "http_service"
    ),
    "envoy.type.matcher.v3.ListStringMatcher": Fields("patterns"),
    _JWT + "JwtAuthentication": Fields(
        "providers rules filter_state_rules bypass_cors_preflight requirement_map "
        "strip_failure_response stat_prefix"
    ),
    _JWT + "JwtProvider": Fields(
        "issuer audiences subjects require_expiration max_lifetime remote_jwks local_jwks forward "
        "from_headers from_params from_cookies forward_payload_header pad_forward_payload_header "
        "payload_in_metadata normalize_payload_in_metadata header_in_metadata "
        "failed_status_in_metadata clock_skew_seconds jwt_cache_config claim_to_headers "
        "clear_route_cache"
    ),
    _JWT + "JwtProvider.NormalizePayload": Fields("space_delimited_claims"),
    _JWT + "JwtCacheConfig": Fields("jwt_cache_size jwt_max_token_size"),
    _JWT + "RemoteJwks": Fields("http_uri cache_duration async_fetch retry_policy"),
    _JWT + "JwksAsyncFetch": Fields(
        "failed_refetch_duration",
        {"fast_listener": "no listener waits for keys; requests do, for the first fetch"},
    ),
    _JWT + "JwtHeader": Fields("name value_prefix"),
    _JWT + "JwtClaimToHeader": Fields("header_name claim_name"),
    _JWT + "ProviderWithAudiences": Fields("provider_name audiences"),
    _JWT + "JwtRequirement": Fields(
        "provider_name provider_and_audiences requires_any requires_all allow_missing_or_failed "
        "allow_missing"
    ),
    _JWT + "JwtRequirementOrList": Fields("requirements"),
    _JWT + "JwtRequirementAndList": Fields("requirements"),
    _JWT + "RequirementRule": Fields("match requires requirement_name"),
    _JWT + "FilterStateRule": Fields("name requires"),
    _JWT + "PerRouteConfig": Fields("disabled requirement_name"),
}
