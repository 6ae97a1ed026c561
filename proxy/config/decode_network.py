"""Decodes network filters that may turn a connection away, before the one that ends the chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import any_pb2

from proxy.config.decode_common import optional_seconds, type_name, unpack, unsupported_type
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.decode_rbac_rules import rules
from proxy.config.decode_services import grpc_service
from proxy.config.model.ext_authz import NetworkExtAuthz
from proxy.config.model.rbac import NetworkRbac
from proxy.config.rejected import Rejected

Guard = NetworkRbac | NetworkExtAuthz
V2 = 1
_ENDING: Mapping[str, str] = {
    tcp_proxy_pb2.TcpProxy.DESCRIPTOR.full_name: "TCP proxy",
    hcm_pb2.HttpConnectionManager.DESCRIPTOR.full_name: "HTTP connection manager",
}


def network_guards(
    messages: Iterable[listener_components_pb2.Filter], path: str
) -> tuple[Guard, ...]:
    """Of all filters of a chain but the last."""
    return tuple(_guard(each.typed_config, f"{path}[{i}]", i) for i, each in enumerate(messages))


def _guard(packed: any_pb2.Any, path: str, at: int) -> Guard:
    name, where = type_name(packed), f"{path}.typed_config"
    if name in _ENDING:
        chain = path.rpartition("[")[0]
        raise Rejected(f"{chain}[{at + 1}]", f"the {_ENDING[name]} must be the last filter")
    decode = GUARDS.get(name)
    if decode is None:
        raise unsupported_type(packed, where, (*GUARDS, *_ENDING))
    return decode(packed, where)


def _rbac(packed: any_pb2.Any, path: str) -> NetworkRbac:
    message = unpack(rbac_pb2.RBAC, packed, path)
    return NetworkRbac(
        message.stat_prefix,
        rules(message.rules, f"{path}.rules") if message.HasField("rules") else None,
        rules(message.shadow_rules, f"{path}.shadow_rules")
        if message.HasField("shadow_rules")
        else None,
        message.shadow_rules_stat_prefix,
        optional_seconds(message, "delay_deny") or 0.0,
    )


def _ext_authz(packed: any_pb2.Any, path: str) -> NetworkExtAuthz:
    message = unpack(ext_authz_pb2.ExtAuthz, packed, path)
    if message.transport_api_version == V2:
        raise Rejected(f"{path}.transport_api_version", "version 2 is no longer in use")
    if not message.HasField("grpc_service"):
        raise Rejected(f"{path}.grpc_service", "is required")
    where = f"{path}.filter_enabled_metadata"
    return NetworkExtAuthz(
        message.stat_prefix,
        grpc_service(message.grpc_service, f"{path}.grpc_service"),
        message.failure_mode_allow,
        message.include_peer_certificate,
        message.include_tls_session,
        metadata_matcher(message.filter_enabled_metadata, where)
        if message.HasField("filter_enabled_metadata")
        else None,
        tuple(message.metadata_context_namespaces),
    )


GUARDS: Mapping[str, Callable[[any_pb2.Any, str], Guard]] = {
    rbac_pb2.RBAC.DESCRIPTOR.full_name: _rbac,
    ext_authz_pb2.ExtAuthz.DESCRIPTOR.full_name: _ext_authz,
}
