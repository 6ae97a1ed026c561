"""Decodes a `Cluster`. Its limits and outlier detection stand in `decode_limits`."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2

from proxy.config import decode_tls
from proxy.config.decode_common import (
    address,
    choice,
    ip_address,
    metadata,
    seconds_or,
    struct,
    value_or,
)
from proxy.config.decode_connecting import sockets, transport
from proxy.config.decode_discovery import check_balancing, checked_names, discovery
from proxy.config.decode_eds import HEALTH, load_assignment
from proxy.config.decode_health import health_check
from proxy.config.decode_lb import load_balancing
from proxy.config.decode_limits import outlier_detection, thresholds
from proxy.config.decode_protocol import cluster_errors, cluster_protocol, preconnect_policy
from proxy.config.decode_source import source
from proxy.config.model import (
    Cluster,
    ClusterLoadAssignment,
    ClusterType,
    TransportSocketMatch,
)
from proxy.config.model.clusters import SESSIONS_GO_TO, HealthStatus
from proxy.config.rejected import Rejected, at

# Those whose endpoints stand in the cluster itself.
_LISTED = ("STATIC", "STRICT_DNS", "LOGICAL_DNS")


def cluster(message: cluster_pb2.Cluster, path: str = "") -> Cluster:
    """`message` must be checked."""
    found = discovery(message, path)
    kind = found.type
    lb = load_balancing(message, path)
    check_balancing(found, lb, message.HasField("load_balancing_policy"), path)
    default, high = thresholds(message.circuit_breakers, at(path, "circuit_breakers"))
    outlier = message.outlier_detection if message.HasField("outlier_detection") else None
    socket = message.transport_socket if message.HasField("transport_socket") else None
    tls, proxy_protocol = transport(socket, at(path, "transport_socket"))
    return Cluster(
        name=message.name,
        type=kind,
        eds_service_name=message.eds_cluster_config.service_name,
        eds_path=_eds_path(message, kind, at(path, "eds_cluster_config")),
        load_assignment=_load_assignment(message, kind, at(path, "load_assignment")),
        lb=lb,
        healthy_panic_threshold=_panic_threshold(message),
        connect_timeout_s=seconds_or(message, "connect_timeout", 5.0),
        thresholds_default=default,
        thresholds_high=high,
        outlier=outlier_detection(outlier, at(path, "outlier_detection")) if outlier else None,
        error_statuses=cluster_errors(message, path),
        wait_for_warm_on_init=value_or(message, "wait_for_warm_on_init", True),
        health_check=health_check(message.health_checks, at(path, "health_checks")),
        ignore_new_hosts_until_first_hc=message.common_lb_config.ignore_new_hosts_until_first_hc,
        tls=tls,
        proxy_protocol=proxy_protocol,
        tls_matches=_socket_matches(message, at(path, "transport_socket_matches")),
        http=checked_names(message, found, cluster_protocol(message, path), path),
        preconnect=preconnect_policy(message),
        per_connection_buffer_limit_bytes=value_or(
            message, "per_connection_buffer_limit_bytes", 1024 * 1024
        ),
        dns=found.dns,
        clusters=found.clusters,
        dns_cache=found.dns_cache,
        original_dst=found.original_dst,
        cleanup_interval_s=seconds_or(message, "cleanup_interval", 5.0),
        sockets=sockets(message, path),
        alt_stat_name=message.alt_stat_name,
        close_connections_on_host_health_failure=(message.close_connections_on_host_health_failure),
        metadata=metadata(message.metadata),
        ignore_health_on_host_removal=message.ignore_health_on_host_removal,
        override_host_status=_session_statuses(
            message.common_lb_config, at(path, "common_lb_config")
        ),
    )


def _eds_path(message: cluster_pb2.Cluster, kind: ClusterType, path: str) -> str:
    if not message.HasField("eds_cluster_config"):
        if kind == "EDS":
            raise Rejected(path, "is required for a cluster of type EDS")
        return ""
    if kind != "EDS":
        raise Rejected(path, f"is set in a cluster of type {kind}")
    return source(message.eds_cluster_config.eds_config, f"{path}.eds_config")


def _load_assignment(
    message: cluster_pb2.Cluster, kind: ClusterType, path: str
) -> ClusterLoadAssignment | None:
    if kind not in _LISTED:
        if message.HasField("load_assignment"):
            raise Rejected(path, f"is set in a cluster of type {kind}")
        return None
    decode_address = ip_address if kind == "STATIC" else address
    found = load_assignment(message.load_assignment, path, decode_address)
    if kind == "LOGICAL_DNS" and [len(each.endpoints) for each in found.localities] != [1]:
        raise Rejected(path, "a cluster of type LOGICAL_DNS must have exactly one endpoint")
    if kind != "STATIC" and any(
        each.address.path for group in found.localities for each in group.endpoints
    ):
        raise Rejected(path, f"a cluster of type {kind} can have no Unix socket")
    return found


def _session_statuses(
    common: cluster_pb2.Cluster.CommonLbConfig, path: str
) -> frozenset[HealthStatus]:
    """Of hosts that a session stays with."""
    if not common.HasField("override_host_status"):
        return SESSIONS_GO_TO
    statuses, where = common.override_host_status.statuses, f"{path}.override_host_status.statuses"
    return frozenset([choice(HEALTH, one, f"{where}[{i}]") for i, one in enumerate(statuses)])


def _panic_threshold(message: cluster_pb2.Cluster) -> float:
    common = message.common_lb_config
    if not common.HasField("healthy_panic_threshold"):
        return 50.0
    return common.healthy_panic_threshold.value


def _socket_matches(message: cluster_pb2.Cluster, path: str) -> tuple[TransportSocketMatch, ...]:
    return tuple(
        TransportSocketMatch(
            each.name,
            struct(each.match),
            decode_tls.upstream(each.transport_socket, f"{path}[{i}].transport_socket")
            if each.HasField("transport_socket")
            else None,
        )
        for i, each in enumerate(message.transport_socket_matches)
    )
