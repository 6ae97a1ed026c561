"""Decodes network filters that may turn a connection away, before the one that ends the chain.

The module of each is imported when a configuration names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import any_pb2

from proxy.config.decode_common import type_name, unsupported_type
from proxy.config.decode_typed_struct import TYPED_STRUCTS, open_struct
from proxy.config.model.ext_authz import NetworkExtAuthz
from proxy.config.model.istio import IstioStats
from proxy.config.model.rbac import NetworkRbac
from proxy.config.rejected import Rejected
from proxy.imported import Imported

Guard = NetworkRbac | NetworkExtAuthz
STATS = "type.googleapis.com/stats.PluginConfig"
_NETWORK = "envoy.extensions.filters.network."
_ENDING: Mapping[str, str] = {
    tcp_proxy_pb2.TcpProxy.DESCRIPTOR.full_name: "TCP proxy",
    hcm_pb2.HttpConnectionManager.DESCRIPTOR.full_name: "HTTP connection manager",
}
GUARDS: Mapping[str, Callable[[any_pb2.Any, str], Guard]] = Imported(
    {
        f"{_NETWORK}rbac.v3.RBAC": "proxy.config.decode_network_rbac:decode",
        f"{_NETWORK}ext_authz.v3.ExtAuthz": "proxy.config.decode_network_ext_authz:decode",
    }
)


def network_guards(
    messages: Iterable[listener_components_pb2.Filter], path: str
) -> tuple[Guard, ...]:
    """Of all filters of a chain but the last."""
    return tuple(
        _guard(each.typed_config, f"{path}[{i}]", i)
        for i, each in enumerate(messages)
        if not _counts(each.typed_config, f"{path}[{i}]")
    )


def counted(messages: Iterable[listener_components_pb2.Filter], path: str) -> IstioStats | None:
    """Istio's metrics of connections, if one of the filters makes them."""
    for i, each in enumerate(messages):
        where = f"{path}[{i}].typed_config"
        if _counts(each.typed_config, f"{path}[{i}]"):
            from proxy.config.filters.decode_istio_stats import decode

            return decode(open_struct(each.typed_config, where)[1], f"{where}.value")
    return None


def _counts(packed: any_pb2.Any, path: str) -> bool:
    if type_name(packed) not in TYPED_STRUCTS:
        return False
    return open_struct(packed, f"{path}.typed_config")[0] == STATS


def _guard(packed: any_pb2.Any, path: str, at: int) -> Guard:
    name, where = type_name(packed), f"{path}.typed_config"
    if name in _ENDING:
        chain = path.rpartition("[")[0]
        raise Rejected(f"{chain}[{at + 1}]", f"the {_ENDING[name]} must be the last filter")
    if name not in GUARDS:
        raise unsupported_type(packed, where, (*GUARDS, *_ENDING))
    return GUARDS[name](packed, where)
