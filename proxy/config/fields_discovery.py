"""Rows of the field table: how clusters find hosts and reach them: DNS, sockets, PROXY protocol."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_CORE = "envoy.config.core.v3."
_CLUSTER = "envoy.config.cluster.v3."
_CLUSTERS = "envoy.extensions.clusters."
_RESOLVER = "envoy.extensions.network.dns_resolver."
_FORWARD = "envoy.extensions.common.dynamic_forward_proxy.v3."
_FORWARD_FILTER = "envoy.extensions.filters.http.dynamic_forward_proxy.v3."
_CARES = "how c-ares keeps its channels is Weft's own matter"
_REFRESH = Fields("base_interval max_interval")

DISCOVERY: Table = {
    _CLUSTER + "Cluster.CustomClusterType": Fields("name typed_config"),
    _CLUSTER + "Cluster.RefreshRate": _REFRESH,
    _CLUSTER + "Cluster.OriginalDstLbConfig": Fields(
        "use_http_header http_header_name upstream_port_override metadata_key"
    ),
    _CLUSTER + "UpstreamConnectionOptions": Fields(
        "tcp_keepalive",
        {
            "happy_eyeballs_config": "addresses are tried in the order in which they come",
        },
        {"set_local_interface_name_on_upstream_connections": False},
    ),
    _CORE + "TcpKeepalive": Fields("keepalive_probes keepalive_time keepalive_interval"),
    _CORE + "BindConfig": Fields(
        "source_address socket_options extra_source_addresses", only={"freebind": False}
    ),
    _CORE + "ExtraSourceAddress": Fields("address"),
    _CORE + "SocketOption": Fields(
        "level name int_value buf_value",
        {
            "description": "it is for people",
            "state": "options are set on a socket that is not yet bound",
        },
    ),
    _CORE + "DnsResolverOptions": Fields("use_tcp_for_dns_lookups no_default_search_domain"),
    _CORE + "DnsResolutionConfig": Fields("resolvers dns_resolver_options"),
    _RESOLVER + "cares.v3.CaresDnsResolverConfig": Fields(
        "resolvers dns_resolver_options query_timeout_seconds query_tries rotate_nameservers",
        {
            "udp_max_queries": _CARES,
            "edns0_max_payload_size": _CARES,
            "max_udp_channel_duration": _CARES,
            "reinit_channel_on_timeout": _CARES,
        },
        {"use_resolvers_as_fallback": False, "filter_unroutable_families": False},
    ),
    _RESOLVER + "getaddrinfo.v3.GetAddrInfoDnsResolverConfig": Fields(
        no_effect={
            "num_retries": "the operating system tries again as it is set up to",
            "num_resolver_threads": "how many threads ask is Weft's own matter",
        }
    ),
    _CLUSTERS + "aggregate.v3.ClusterConfig": Fields("clusters"),
    _CLUSTERS + "dns.v3.DnsCluster": Fields(
        "dns_refresh_rate dns_failure_refresh_rate respect_dns_ttl dns_jitter "
        "typed_dns_resolver_config dns_lookup_family all_addresses_in_single_endpoint"
    ),
    _CLUSTERS + "dns.v3.DnsCluster.RefreshRate": _REFRESH,
    _CLUSTERS + "dynamic_forward_proxy.v3.ClusterConfig": Fields(
        "dns_cache_config allow_insecure_cluster_options",
        only={"allow_coalesced_connections": False},
    ),
    _FORWARD_FILTER + "FilterConfig": Fields(
        "dns_cache_config",
        only={"save_upstream_address": False, "allow_dynamic_host_from_filter_state": False},
    ),
    _FORWARD_FILTER + "PerRouteConfig": Fields("host_rewrite_literal host_rewrite_header"),
    _FORWARD + "DnsCacheConfig": Fields(
        "name dns_lookup_family dns_refresh_rate dns_min_refresh_rate host_ttl max_hosts "
        "disable_dns_refresh_on_failure dns_failure_refresh_rate dns_cache_circuit_breaker "
        "use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config "
        "preresolve_hostnames dns_query_timeout"
    ),
    _FORWARD + "DnsCacheCircuitBreakers": Fields("max_pending_requests"),
    _CORE + "ProxyProtocolConfig": Fields("version pass_through_tlvs added_tlvs"),
    _CORE + "ProxyProtocolPassThroughTLVs": Fields("match_type tlv_type"),
    _CORE + "TlvEntry": Fields("type value format_string"),
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": Fields(
        "config transport_socket", only={"allow_unspecified_address": False}
    ),
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol": Fields(
        "rules allow_requests_without_proxy_protocol pass_through_tlvs disallowed_versions "
        "stat_prefix"
    ),
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.Rule": Fields(
        "tlv_type on_tlv_present"
    ),
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.KeyValuePair": Fields(
        "metadata_namespace key"
    ),
}
