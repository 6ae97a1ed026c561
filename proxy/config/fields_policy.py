"""Rows of the field table: what filters decide by: access rules, rate limits, metadata matchers."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_MATCHER = "envoy.type.matcher.v3."
_RBAC = "envoy.config.rbac.v3."
_INPUT = "envoy.extensions.matching.common_inputs.network.v3."
_ACTION = "envoy.config.route.v3.RateLimit.Action."
_LIMITS = "envoy.extensions.common.ratelimit.v3."

POLICY: Table = {
    _RBAC + "RBAC": Fields("action policies audit_logging_options"),
    _RBAC + "RBAC.AuditLoggingOptions": Fields(
        "logger_configs", {"audit_condition": "no logger is called: Weft's says where policies are"}
    ),
    _RBAC + "RBAC.AuditLoggingOptions.AuditLoggerConfig": Fields("audit_logger is_optional"),
    "udpa.type.v1.TypedStruct": Fields("type_url value"),
    "xds.type.v3.TypedStruct": Fields("type_url value"),
    "envoy.extensions.filters.network.rbac.v3.RBAC": Fields(
        "rules shadow_rules shadow_rules_stat_prefix stat_prefix delay_deny matcher shadow_matcher",
        {"enforcement_type": "nothing that rules look at changes while a connection lasts"},
    ),
    _RBAC + "Action": Fields("name action"),
    _INPUT + "SourceIPInput": Fields(),
    _INPUT + "DirectSourceIPInput": Fields(),
    _INPUT + "DestinationIPInput": Fields(),
    _INPUT + "SourcePortInput": Fields(),
    _INPUT + "DestinationPortInput": Fields(),
    _INPUT + "ServerNameInput": Fields(),
    _INPUT + "FilterStateInput": Fields("key"),
    _INPUT + "DynamicMetadataInput": Fields("filter path"),
    _INPUT + "DynamicMetadataInput.PathSegment": Fields("key"),
    "envoy.extensions.matching.input_matchers.ip.v3.Ip": Fields(
        "cidr_ranges", {"stat_prefix": "Weft looks ranges up without a trie that it could count"}
    ),
    "envoy.extensions.matching.input_matchers.metadata.v3.Metadata": Fields("value invert"),
    _RBAC + "Policy": Fields("permissions principals"),
    _RBAC + "Permission": Fields(
        "and_rules or_rules any header url_path destination_ip destination_port "
        "destination_port_range metadata not_rule requested_server_name sourced_metadata "
        "uri_template"
    ),
    _RBAC + "Permission.Set": Fields("rules"),
    _RBAC + "Principal": Fields(
        "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path "
        "metadata filter_state not_id sourced_metadata"
    ),
    _RBAC + "Principal.Set": Fields("ids"),
    _RBAC + "Principal.Authenticated": Fields("principal_name"),
    _RBAC + "SourcedMetadata": Fields("metadata_matcher metadata_source"),
    _MATCHER + "PathMatcher": Fields("path"),
    _MATCHER + "MetadataMatcher": Fields("filter path value invert"),
    _MATCHER + "MetadataMatcher.PathSegment": Fields("key"),
    _MATCHER + "ValueMatcher": Fields(
        "null_match double_match string_match bool_match present_match list_match or_match"
    ),
    _MATCHER + "ValueMatcher.NullMatch": Fields(),
    _MATCHER + "ListMatcher": Fields("one_of"),
    _MATCHER + "OrMatcher": Fields("value_matchers"),
    _MATCHER + "DoubleMatcher": Fields("range exact"),
    _MATCHER + "FilterStateMatcher": Fields("key string_match address_match"),
    _MATCHER + "AddressMatcher": Fields("ranges"),
    "xds.core.v3.CidrRange": Fields("address_prefix prefix_len"),
    "envoy.type.v3.DoubleRange": Fields("start end"),
    "envoy.type.v3.Int32Range": Fields("start end"),
    "envoy.type.v3.HttpStatus": Fields("code"),
    "envoy.type.v3.TokenBucket": Fields("max_tokens tokens_per_fill fill_interval"),
    _LIMITS + "LocalRateLimitDescriptor": Fields("entries token_bucket"),
    _LIMITS + "RateLimitDescriptor.Entry": Fields("key value"),
    "envoy.config.route.v3.FilterConfig": Fields("config is_optional disabled"),
    "envoy.config.route.v3.RateLimit": Fields("stage disable_key actions hits_addend"),
    "envoy.config.route.v3.RateLimit.HitsAddend": Fields("number"),
    _ACTION[:-1]: Fields(
        "source_cluster destination_cluster request_headers query_parameters remote_address "
        "generic_key header_value_match metadata masked_remote_address query_parameter_value_match"
    ),
    _ACTION + "SourceCluster": Fields(),
    _ACTION + "DestinationCluster": Fields(),
    _ACTION + "RequestHeaders": Fields("header_name descriptor_key skip_if_absent"),
    _ACTION + "QueryParameters": Fields("query_parameter_name descriptor_key skip_if_absent"),
    _ACTION + "RemoteAddress": Fields(),
    _ACTION + "MaskedRemoteAddress": Fields("v4_prefix_mask_len v6_prefix_mask_len"),
    _ACTION + "GenericKey": Fields("descriptor_value descriptor_key"),
    _ACTION + "HeaderValueMatch": Fields("descriptor_key descriptor_value expect_match headers"),
    _ACTION + "QueryParameterValueMatch": Fields(
        "descriptor_key descriptor_value expect_match query_parameters"
    ),
    _ACTION + "MetaData": Fields("descriptor_key metadata_key default_value source skip_if_absent"),
    "envoy.type.metadata.v3.MetadataKey": Fields("key path"),
    "envoy.type.metadata.v3.MetadataKey.PathSegment": Fields("key"),
}
