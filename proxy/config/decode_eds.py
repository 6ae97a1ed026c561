"""Decodes a `ClusterLoadAssignment`: the endpoints of one cluster by locality and priority."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envoy.config.core.v3 import address_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.type.v3 import percent_pb2

from proxy.config.decode_common import (
    choice,
    ip_address,
    locality,
    metadata,
    percent,
    seconds_or,
    value_or,
)
from proxy.config.decode_health import endpoint_check
from proxy.config.model import (
    ClusterLoadAssignment,
    DropOverload,
    Endpoint,
    HealthStatus,
    LocalityEndpoints,
    SocketAddress,
)
from proxy.config.rejected import Rejected, at

DecodeAddress = Callable[[address_pb2.Address, str], SocketAddress]
HEALTH: Mapping[int, HealthStatus] = {
    0: "UNKNOWN",
    1: "HEALTHY",
    2: "UNHEALTHY",
    3: "DRAINING",
    4: "TIMEOUT",
    5: "DEGRADED",
}
_OVERPROVISIONING = 140
_MAX_WEIGHT = 0xFFFFFFFF


def load_assignment(
    message: endpoint_pb2.ClusterLoadAssignment,
    path: str = "",
    decode_address: DecodeAddress = ip_address,
) -> ClusterLoadAssignment:
    """`message` must be checked. Addresses must be IPs unless `decode_address` allows names."""
    where = at(path, "endpoints")
    return ClusterLoadAssignment(
        cluster_name=message.cluster_name,
        localities=tuple(
            _locality(each, f"{where}[{i}]", decode_address)
            for i, each in enumerate(message.endpoints)
        ),
        overprovisioning_factor=value_or(
            message.policy, "overprovisioning_factor", _OVERPROVISIONING
        ),
        weighted_priority_health=message.policy.weighted_priority_health,
        drop_overloads=_drop_overloads(message.policy, at(path, "policy")),
        stale_after_s=seconds_or(message.policy, "endpoint_stale_after", 0.0),
    )


def _drop_overloads(
    message: endpoint_pb2.ClusterLoadAssignment.Policy, path: str
) -> tuple[DropOverload, ...]:
    where = at(path, "drop_overloads")
    if len(message.drop_overloads) > 1:
        raise Rejected(where, "Envoy knows one entry only")
    return tuple(
        DropOverload(_share(each.drop_percentage, f"{where}[{i}].drop_percentage"))
        for i, each in enumerate(message.drop_overloads)
    )


def _share(message: percent_pb2.FractionalPercent, path: str) -> float:
    found = percent(message, path)
    return min(1.0, found.numerator / found.denominator)


def _locality(
    message: endpoint_components_pb2.LocalityLbEndpoints, path: str, decode_address: DecodeAddress
) -> LocalityEndpoints:
    endpoints = tuple(
        _endpoint(each, f"{path}.lb_endpoints[{i}]", decode_address)
        for i, each in enumerate(message.lb_endpoints)
    )
    if sum(each.weight for each in endpoints) > _MAX_WEIGHT:
        raise Rejected(path, "the sum of the weights of the endpoints is above 4294967295")
    return LocalityEndpoints(
        locality=locality(message.locality),
        endpoints=endpoints,
        weight=value_or(message, "load_balancing_weight", None),
        priority=message.priority,
    )


def _endpoint(
    message: endpoint_components_pb2.LbEndpoint, path: str, decode_address: DecodeAddress
) -> Endpoint:
    where = f"{path}.endpoint"
    if not message.endpoint.HasField("address"):
        raise Rejected(f"{where}.address", "is required")
    check = message.endpoint.health_check_config
    return Endpoint(
        address=decode_address(message.endpoint.address, f"{where}.address"),
        health=choice(HEALTH, message.health_status, f"{path}.health_status"),
        weight=value_or(message, "load_balancing_weight", 1),
        hostname=message.endpoint.hostname,
        metadata=metadata(message.metadata),
        additional_addresses=tuple(
            decode_address(each.address, f"{where}.additional_addresses[{i}].address")
            for i, each in enumerate(message.endpoint.additional_addresses)
        ),
        check=endpoint_check(check, f"{where}.health_check_config")
        if message.endpoint.HasField("health_check_config")
        else None,
    )
