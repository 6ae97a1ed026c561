"""Decodes a `Cluster`. Its limits and outlier detection stand in `decode_limits`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2
from envoy.extensions.load_balancing_policies.random.v3 import random_pb2
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2

from proxy.config import decode_tls
from proxy.config.decode_common import (
    address,
    choice,
    enum_name,
    ip_address,
    metadata,
    seconds_or,
    struct,
    type_name,
    unpack,
    unsupported_type,
    value_or,
)
from proxy.config.decode_eds import load_assignment
from proxy.config.decode_limits import outlier_detection, thresholds
from proxy.config.decode_protocol import cluster_protocol, preconnect_policy
from proxy.config.decode_source import from_ads
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import Cluster, ClusterLoadAssignment, TransportSocketMatch
from proxy.config.rejected import Rejected, at

Type = Literal["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS"]
LbPolicy = Literal["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"]
Family = Literal["AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL"]

_C = cluster_pb2.Cluster
_TYPES: Mapping[int, Type] = {
    _C.STATIC: "STATIC",
    _C.STRICT_DNS: "STRICT_DNS",
    _C.LOGICAL_DNS: "LOGICAL_DNS",
    _C.EDS: "EDS",
}
_LB_POLICIES: Mapping[int, LbPolicy] = {
    _C.ROUND_ROBIN: "ROUND_ROBIN",
    _C.LEAST_REQUEST: "LEAST_REQUEST",
    _C.RANDOM: "RANDOM",
}
_LB_EXTENSIONS: Mapping[str, tuple[Any, LbPolicy]] = {
    round_robin_pb2.RoundRobin.DESCRIPTOR.full_name: (round_robin_pb2.RoundRobin, "ROUND_ROBIN"),
    least_request_pb2.LeastRequest.DESCRIPTOR.full_name: (
        least_request_pb2.LeastRequest,
        "LEAST_REQUEST",
    ),
    random_pb2.Random.DESCRIPTOR.full_name: (random_pb2.Random, "RANDOM"),
}
_FAMILIES: Mapping[int, Family] = {
    _C.AUTO: "AUTO",
    _C.V4_ONLY: "V4_ONLY",
    _C.V6_ONLY: "V6_ONLY",
    _C.V4_PREFERRED: "V4_PREFERRED",
    _C.ALL: "ALL",
}


def cluster(message: cluster_pb2.Cluster, path: str = "") -> Cluster:
    """`message` must be checked."""
    kind = _type(message, at(path, "type"))
    policy, choices = _load_balancing(message, path)
    default, high = thresholds(message.circuit_breakers, at(path, "circuit_breakers"))
    outlier = message.outlier_detection if message.HasField("outlier_detection") else None
    socket = message.transport_socket if message.HasField("transport_socket") else None
    return Cluster(
        name=message.name,
        type=kind,
        eds_service_name=_eds_service_name(message, kind, at(path, "eds_cluster_config")),
        load_assignment=_load_assignment(message, kind, at(path, "load_assignment")),
        lb_policy=policy,
        least_request_choice_count=choices,
        healthy_panic_threshold=_panic_threshold(message),
        connect_timeout_s=seconds_or(message, "connect_timeout", 5.0),
        thresholds_default=default,
        thresholds_high=high,
        outlier=outlier_detection(outlier) if outlier else None,
        tls=decode_tls.upstream(socket, at(path, "transport_socket")) if socket else None,
        tls_matches=_socket_matches(message, at(path, "transport_socket_matches")),
        http=cluster_protocol(message, path),
        preconnect=preconnect_policy(message),
        per_connection_buffer_limit_bytes=value_or(
            message, "per_connection_buffer_limit_bytes", 1024 * 1024
        ),
        dns_refresh_rate_s=seconds_or(message, "dns_refresh_rate", 5.0),
        respect_dns_ttl=message.respect_dns_ttl,
        dns_lookup_family=choice(
            _FAMILIES, message.dns_lookup_family, at(path, "dns_lookup_family")
        ),
        alt_stat_name=message.alt_stat_name,
        close_connections_on_host_health_failure=(message.close_connections_on_host_health_failure),
        metadata=metadata(message.metadata),
        ignore_health_on_host_removal=message.ignore_health_on_host_removal,
    )


def _type(message: cluster_pb2.Cluster, path: str) -> Type:
    if message.type not in _TYPES:
        name = enum_name(_C.DiscoveryType, message.type)
        raise Rejected(path, f"{name} is {UNSUPPORTED}")
    return _TYPES[message.type]


def _eds_service_name(message: cluster_pb2.Cluster, kind: Type, path: str) -> str:
    if not message.HasField("eds_cluster_config"):
        if kind == "EDS":
            raise Rejected(path, "is required for a cluster of type EDS")
        return ""
    if kind != "EDS":
        raise Rejected(path, f"is set in a cluster of type {kind}")
    from_ads(message.eds_cluster_config.eds_config, f"{path}.eds_config")
    return message.eds_cluster_config.service_name


def _load_assignment(
    message: cluster_pb2.Cluster, kind: Type, path: str
) -> ClusterLoadAssignment | None:
    if kind == "EDS":
        if message.HasField("load_assignment"):
            raise Rejected(path, "is set in a cluster of type EDS")
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


def _load_balancing(message: cluster_pb2.Cluster, path: str) -> tuple[LbPolicy, int]:
    """The policy and least request's choice count. An extension wins over `lb_policy`."""
    if message.HasField("load_balancing_policy"):
        return _lb_extension(message, at(path, "load_balancing_policy.policies"))
    number = message.lb_policy
    if number == _C.LOAD_BALANCING_POLICY_CONFIG:
        raise Rejected(at(path, "load_balancing_policy"), "is required with this lb_policy")
    if number not in _LB_POLICIES:
        name = enum_name(_C.LbPolicy, number)
        raise Rejected(at(path, "lb_policy"), f"{name} is {UNSUPPORTED}")
    wanted = {"least_request_lb_config": _C.LEAST_REQUEST, "round_robin_lb_config": _C.ROUND_ROBIN}
    given = message.WhichOneof("lb_config")
    if given is not None and wanted.get(given) != number:
        raise Rejected(at(path, given), f"does not belong to lb_policy {_LB_POLICIES[number]}")
    return _LB_POLICIES[number], value_or(message.least_request_lb_config, "choice_count", 2)


def _lb_extension(message: cluster_pb2.Cluster, path: str) -> tuple[LbPolicy, int]:
    """Envoy takes the first policy of the list that it knows."""
    for i, each in enumerate(message.load_balancing_policy.policies):
        packed = each.typed_extension_config.typed_config
        if (known := _LB_EXTENSIONS.get(type_name(packed))) is not None:
            kind, policy = known
            inner = unpack(kind, packed, f"{path}[{i}].typed_extension_config.typed_config")
            choices = value_or(inner, "choice_count", 2) if policy == "LEAST_REQUEST" else 2
            return policy, choices
    if not message.load_balancing_policy.policies:
        raise Rejected(path, "needs at least one policy")
    first = message.load_balancing_policy.policies[0].typed_extension_config.typed_config
    raise unsupported_type(first, f"{path}[0].typed_extension_config.typed_config", _LB_EXTENSIONS)


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
