"""Decodes the `TcpProxy` network filter."""

from __future__ import annotations

from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from proxy.config.decode_access_log import access_logs
from proxy.config.decode_common import seconds_or, value_or
from proxy.config.model import TcpProxy


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
    )
