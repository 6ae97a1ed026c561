"""Rows of the field table: listeners, the HTTP connection manager and the TCP proxy."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_LISTENER = "envoy.config.listener.v3."
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3."
_TCP = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_INSPECTOR = "envoy.extensions.filters.listener."
_SHARED = "how workers share the accepted connections is Weft's own matter"
_OVERLOAD = "there is no overload manager and no global connection limit"
_CODEC = "codec_type HTTP3 is refused, and nothing else uses them"

LISTENERS: Table = {
    _LISTENER + "Listener": Fields(
        "name address stat_prefix filter_chains use_original_dst default_filter_chain "
        "per_connection_buffer_limit_bytes deprecated_v1 listener_filters "
        "listener_filters_timeout continue_on_listener_filters_timeout traffic_direction "
        "access_log tcp_backlog_size bind_to_port socket_options transparent metadata "
        "additional_addresses",
        {
            "drain_type": "a listener drains when it is removed or changed, or the proxy stops",
            "enable_reuse_port": _SHARED,
            "reuse_port": _SHARED,
            "connection_balance_config": _SHARED,
            "max_connections_to_accept_per_socket_event": _SHARED,
            "tcp_fast_open_queue_length": "TCP fast open is left to the operating system",
            "ignore_global_conn_limit": _OVERLOAD,
            "bypass_overload_manager": _OVERLOAD,
        },
        {"freebind": False},
    ),
    _LISTENER + "Listener.DeprecatedV1": Fields("bind_to_port"),
    _LISTENER + "AdditionalAddress": Fields("address"),
    _LISTENER + "FilterChain": Fields(
        "filter_chain_match filters transport_socket transport_socket_connect_timeout name "
        "metadata",
        {},
        {"use_proxy_proto": False},
    ),
    _LISTENER + "FilterChainMatch": Fields(
        "destination_port prefix_ranges server_names transport_protocol application_protocols "
        "source_prefix_ranges source_ports"
    ),
    _LISTENER + "Filter": Fields("name typed_config"),
    _LISTENER + "ListenerFilter": Fields("name typed_config filter_disabled"),
    _LISTENER + "ListenerFilterChainMatchPredicate": Fields(
        "or_match and_match not_match any_match destination_port_range"
    ),
    _LISTENER + "ListenerFilterChainMatchPredicate.MatchSet": Fields("rules"),
    _INSPECTOR + "tls_inspector.v3.TlsInspector": Fields(
        "enable_ja3_fingerprinting enable_ja4_fingerprinting",
        no_effect={
            "initial_read_buffer_size": "the buffer grows as it is needed",
            "max_client_hello_size": "a client hello may have 16 KiB",
        },
    ),
    _INSPECTOR + "http_inspector.v3.HttpInspector": Fields(),
    _INSPECTOR + "original_dst.v3.OriginalDst": Fields(),
    _INSPECTOR + "original_src.v3.OriginalSrc": Fields("bind_port mark"),
    _HCM + "LocalReplyConfig": Fields("mappers body_format"),
    _HCM + "ResponseMapper": Fields("filter status_code body body_format_override headers_to_add"),
    _HCM + "HttpConnectionManager": Fields(
        "codec_type stat_prefix rds route_config http_filters common_http_protocol_options "
        "http_protocol_options http2_protocol_options server_name server_header_transformation "
        "max_request_headers_kb stream_idle_timeout request_timeout request_headers_timeout "
        "drain_timeout delayed_close_timeout access_log access_log_options "
        "access_log_flush_interval flush_access_log_on_new_request use_remote_address "
        "xff_num_trusted_hops "
        "skip_xff_append via generate_request_id preserve_external_request_id "
        "always_set_request_id_in_response forward_client_cert_details "
        "set_current_client_cert_details normalize_path merge_slashes "
        "path_with_escaped_slashes_action strip_matching_host_port strip_any_host_port "
        "upgrade_configs proxy_100_continue internal_address_config strip_trailing_host_dot "
        "scheme_header_transformation append_x_forwarded_port original_ip_detection_extensions "
        "request_id_extension stream_error_on_invalid_http_message local_reply_config tracing",
        {
            "http3_protocol_options": _CODEC,
            "append_local_overload": _OVERLOAD,
        },
        {
            "add_user_agent": False,
            "represent_ipv4_remote_address_as_ipv4_mapped_ipv6": False,
            "add_proxy_protocol_connection_state": True,
        },
    ),
    _HCM + "HttpConnectionManager.SetCurrentClientCertDetails": Fields(
        "subject cert chain dns uri"
    ),
    _HCM + "RequestIDExtension": Fields("typed_config"),
    _HCM + "HttpConnectionManager.InternalAddressConfig": Fields(
        "cidr_ranges", only={"unix_sockets": False}
    ),
    "envoy.config.core.v3.SchemeHeaderTransformation": Fields(
        "scheme_to_overwrite", only={"match_upstream": False}
    ),
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig": Fields(
        "xff_num_trusted_hops", only={"skip_xff_append": True}
    ),
    "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig": Fields(
        "pack_trace_reason use_request_id_for_trace_sampling"
    ),
    _HCM + "HttpConnectionManager.UpgradeConfig": Fields("upgrade_type filters enabled"),
    _HCM + "HttpConnectionManager.HcmAccessLogOptions": Fields(
        "access_log_flush_interval flush_access_log_on_new_request",
        only={"flush_log_on_tunnel_successfully_established": False},
    ),
    _HCM + "Rds": Fields("config_source route_config_name"),
    _HCM + "HttpFilter": Fields("name typed_config is_optional disabled"),
    _TCP: Fields(
        "stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts "
        "tunneling_config hash_policy max_downstream_connection_duration "
        "max_downstream_connection_duration_jitter_percentage on_demand"
    ),
    _TCP + ".OnDemand": Fields("odcds_config timeout"),
    "envoy.type.v3.HashPolicy": Fields("source_ip"),
    "envoy.type.v3.HashPolicy.SourceIp": Fields(),
    _TCP + ".TunnelingConfig": Fields(
        "hostname use_post post_path headers_to_add propagate_response_headers "
        "propagate_response_trailers"
    ),
    _TCP + ".WeightedCluster": Fields("clusters"),
    _TCP + ".WeightedCluster.ClusterWeight": Fields("name weight"),
}
