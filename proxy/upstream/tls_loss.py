"""A connection to a host that TLS has ended: the host has refused our certificate, say, which in
TLS 1.3 it tells when our half of the handshake is long over."""

from __future__ import annotations

from proxy.tls.counters import TlsCounters
from proxy.tls.failure import TlsFailed
from proxy.upstream.cluster import Cluster


def told(cluster: Cluster, error: Exception | None) -> str:
    """Counts it; the reason for `UPSTREAM_TRANSPORT_FAILURE_REASON`, '' for any other end."""
    if not isinstance(error, TlsFailed):
        return ""
    TlsCounters(cluster.all_stats, cluster.prefix).failed(error)
    return error.told
