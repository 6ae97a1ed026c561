"""Decodes the `TcpProxy` network filter."""

from __future__ import annotations

from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from proxy.config.decode_access_log import access_logs
from proxy.config.decode_common import format_string, headers_to_add, seconds_or, value_or
from proxy.config.decode_source import source
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import TcpProxy
from proxy.config.model.listeners import Tunneling
from proxy.config.rejected import Rejected

_ON_DEMAND_S = 60.0
"""Envoy's default."""


def tcp_proxy(message: tcp_proxy_pb2.TcpProxy, path: str) -> TcpProxy:
    """`message` must be checked: it names a cluster, or at least one with a weight above 0."""
    weighted = message.weighted_clusters.clusters
    return TcpProxy(
        stat_prefix=message.stat_prefix,
        cluster=message.cluster,
        weighted=tuple((each.name, each.weight) for each in weighted),
        idle_timeout_s=seconds_or(message, "idle_timeout", 3600.0),
        access_log=access_logs(message.access_log, f"{path}.access_log"),
        max_connect_attempts=value_or(message, "max_connect_attempts", 1),
        tunneling=_tunneling(message.tunneling_config, f"{path}.tunneling_config")
        if message.HasField("tunneling_config")
        else None,
        max_duration_s=seconds_or(message, "max_downstream_connection_duration", 0.0),
        jitter_percent=message.max_downstream_connection_duration_jitter_percentage.value,
        by_source_ip=bool(message.hash_policy),
        on_demand_s=_on_demand(message.on_demand, f"{path}.on_demand")
        if message.HasField("on_demand")
        else None,
    )


def _on_demand(message: tcp_proxy_pb2.TcpProxy.OnDemand, path: str) -> float | None:
    """Seconds; None where clusters are fetched from nowhere (Envoy). They come over ADS only."""
    if not message.HasField("odcds_config"):
        return None
    if source(message.odcds_config, f"{path}.odcds_config"):
        raise Rejected(f"{path}.odcds_config", f"a file is {UNSUPPORTED}; use ads")
    return seconds_or(message, "timeout", _ON_DEMAND_S)


def _tunneling(message: tcp_proxy_pb2.TcpProxy.TunnelingConfig, path: str) -> Tunneling:
    if message.post_path and not message.use_post:
        raise Rejected(f"{path}.post_path", "is for use_post only")
    return Tunneling(
        hostname=format_string(message.hostname, f"{path}.hostname"),
        use_post=message.use_post,
        post_path=message.post_path or "/",
        headers=headers_to_add(message.headers_to_add, f"{path}.headers_to_add"),
        propagate_response_headers=message.propagate_response_headers,
        propagate_response_trailers=message.propagate_response_trailers,
    )
