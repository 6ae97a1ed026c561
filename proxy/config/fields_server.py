"""Rows of the field table: the bootstrap and the way to the control plane."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_BOOTSTRAP = "envoy.config.bootstrap.v3."
_CORE = "envoy.config.core.v3."
_REST = "it belongs to REST polling, which Weft does not do"
_NODE = "Weft tells the control plane about itself by its own name and version"
_ADMIN_LOG = "Weft writes no log of the requests to its admin port"
_STATISTICS = "it shapes Envoy's own statistics; Weft's are named as Envoy's defaults"
_WATCHDOG = "Weft has one loop and measures how long it was held; it has no threads to watch"

SERVER: Table = {
    _BOOTSTRAP + "Bootstrap": Fields(
        "node static_resources dynamic_resources cluster_manager admin layered_runtime",
        {
            "stats_config": _STATISTICS,
            "stats_flush_interval": "statistics are read, never pushed",
            "stats_flush_on_admin": "statistics are read, never pushed",
            "stats_eviction_interval": _STATISTICS,
            "stats_server_version_override": _STATISTICS,
            "deferred_stat_options": _STATISTICS,
            "watchdog": _WATCHDOG,
            "watchdogs": _WATCHDOG,
            "enable_dispatcher_stats": "the loop's statistics are always on",
            "memory_allocator_manager": "it tunes Envoy's memory allocator",
            "grpc_async_client_manager_config": "it tunes Envoy's cache of gRPC clients",
            "inline_headers": "it only makes some header look-ups faster in Envoy",
        },
    ),
    _BOOTSTRAP + "Bootstrap.StaticResources": Fields("listeners clusters secrets"),
    _BOOTSTRAP + "Bootstrap.DynamicResources": Fields("lds_config cds_config ads_config"),
    _BOOTSTRAP + "Admin": Fields(
        "address",
        {
            "access_log": _ADMIN_LOG,
            "access_log_path": _ADMIN_LOG,
            "profile_path": "Weft has no built-in CPU profiler to write there",
            "ignore_global_conn_limit": "there is no global connection limit",
        },
    ),
    _BOOTSTRAP + "LayeredRuntime": Fields("layers"),
    _BOOTSTRAP + "RuntimeLayer": Fields(
        "name static_layer",
        {"admin_layer": "what the admin port sets stands above all layers, with or without one"},
    ),
    _CORE + "Node": Fields(
        "id cluster metadata locality",
        dict.fromkeys(
            (
                "user_agent_name",
                "user_agent_version",
                "user_agent_build_version",
                "extensions",
                "client_features",
            ),
            _NODE,
        ),
    ),
    _CORE + "ApiConfigSource": Fields(
        "api_type transport_api_version grpc_services set_node_on_first_message_only",
        {"refresh_delay": _REST, "request_timeout": _REST},
    ),
}
