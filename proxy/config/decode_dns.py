"""Decodes how names are resolved: a cluster's own fields, typed `DnsCluster`, and DNS caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2

from proxy.config.any_types import message_type
from proxy.config.decode_common import (
    choice,
    ip_address,
    optional_seconds,
    seconds_or,
    type_name,
    unpack,
    unsupported_type,
    value_or,
)
from proxy.config.model import SocketAddress
from proxy.config.model.discovery import Dns, DnsCache, DnsFamily, DnsResolver
from proxy.config.rejected import Rejected, at

_C = cluster_pb2.Cluster
FAMILIES: Mapping[int, DnsFamily] = {
    _C.AUTO: "AUTO",
    _C.V4_ONLY: "V4_ONLY",
    _C.V6_ONLY: "V6_ONLY",
    _C.V4_PREFERRED: "V4_PREFERRED",
    _C.ALL: "ALL",
}
# DnsCluster has the enum of envoy.extensions.clusters.common.dns.v3, which begins with UNSPECIFIED.
_COMMON_FAMILIES: Mapping[int, DnsFamily] = {
    0: "AUTO",
    1: "AUTO",
    2: "V4_ONLY",
    3: "V6_ONLY",
    4: "V4_PREFERRED",
    5: "ALL",
}
_CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_SYSTEM = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
_RESOLVERS = (_CARES, _SYSTEM)
_MILLISECOND_S = 0.001


def dns(message: cluster_pb2.Cluster, path: str) -> Dns:
    """Of a cluster's own fields."""
    found = _refreshing(message, path)
    family = choice(FAMILIES, message.dns_lookup_family, at(path, "dns_lookup_family"))
    return replace(found, family=family, resolver=_old_resolver(message, path))


def dns_cluster(message: Any, path: str) -> Dns:
    """Of `envoy.extensions.clusters.dns.v3.DnsCluster`."""
    found = _refreshing(message, path)
    family = choice(_COMMON_FAMILIES, message.dns_lookup_family, at(path, "dns_lookup_family"))
    return replace(found, family=family, resolver=_typed_resolver(message, path))


def dns_cache(message: Any, path: str) -> DnsCache:
    """Of a `DnsCacheConfig`."""
    where = at(path, "dns_failure_refresh_rate")
    base, most = _failure(message, where)
    family = choice(FAMILIES, message.dns_lookup_family, at(path, "dns_lookup_family"))
    return DnsCache(
        name=message.name,
        dns=Dns(
            refresh_s=seconds_or(message, "dns_refresh_rate", 60.0),
            failure_base_s=base,
            failure_max_s=most,
            respect_ttl=True,
            family=family,
            resolver=_old_resolver(message, path),
        ),
        min_refresh_s=seconds_or(message, "dns_min_refresh_rate", 5.0),
        host_ttl_s=seconds_or(message, "host_ttl", 300.0),
        max_hosts=value_or(message, "max_hosts", 1024),
        max_pending=value_or(message.dns_cache_circuit_breaker, "max_pending_requests", 1024),
        query_timeout_s=seconds_or(message, "dns_query_timeout", 5.0),
        no_refresh_on_failure=message.disable_dns_refresh_on_failure,
        preresolve=tuple((each.address, each.port_value) for each in message.preresolve_hostnames),
    )


def _refreshing(message: Any, path: str) -> Dns:
    refresh_s = seconds_or(message, "dns_refresh_rate", 5.0)
    if refresh_s < _MILLISECOND_S:
        raise Rejected(at(path, "dns_refresh_rate"), "must be at least 1 ms")
    base, most = _failure(message, at(path, "dns_failure_refresh_rate"))
    return Dns(
        refresh_s=refresh_s,
        jitter_s=optional_seconds(message, "dns_jitter") or 0.0,
        failure_base_s=base,
        failure_max_s=most,
        respect_ttl=message.respect_dns_ttl,
    )


def _failure(message: Any, path: str) -> tuple[float | None, float]:
    """The back-off's base and ceiling in seconds; Envoy's ceiling is ten times the base."""
    if not message.HasField("dns_failure_refresh_rate"):
        return None, 0.0
    rate = message.dns_failure_refresh_rate
    base_s = seconds_or(rate, "base_interval", 0.0)
    max_s = seconds_or(rate, "max_interval", base_s * 10)
    if max_s < base_s:
        raise Rejected(path, "max_interval must be at least base_interval")
    return base_s, max_s


# --------------------------------------------------------------------------- resolvers


def _old_resolver(message: Any, path: str) -> DnsResolver:
    """Envoy: the typed resolver wins, then `dns_resolution_config`, then the oldest fields."""
    if message.HasField("typed_dns_resolver_config"):
        return _typed_resolver(message, path)
    if message.HasField("dns_resolution_config"):
        config = message.dns_resolution_config
        where = at(path, "dns_resolution_config.resolvers")
        options = config.dns_resolver_options
        servers = _servers(config.resolvers, where)
        return DnsResolver(
            servers=servers,
            use_tcp=options.use_tcp_for_dns_lookups,
            no_search=options.no_default_search_domain,
        )
    servers = ()
    if isinstance(message, _C):
        servers = _servers(message.dns_resolvers, at(path, "dns_resolvers"))
    return DnsResolver(servers=servers, use_tcp=message.use_tcp_for_dns_lookups)


def _typed_resolver(message: Any, path: str) -> DnsResolver:
    if not message.HasField("typed_dns_resolver_config"):
        return DnsResolver()
    packed = message.typed_dns_resolver_config.typed_config
    where = at(path, "typed_dns_resolver_config.typed_config")
    name = type_name(packed)
    if name not in _RESOLVERS:
        raise unsupported_type(packed, where, _RESOLVERS)
    config = unpack(message_type(name), packed, where)
    if name == _SYSTEM:
        return DnsResolver(system=True)
    options = config.dns_resolver_options
    return DnsResolver(
        servers=_servers(config.resolvers, f"{where}.resolvers"),
        use_tcp=options.use_tcp_for_dns_lookups,
        no_search=options.no_default_search_domain,
        rotate=config.rotate_nameservers,
        timeout_s=value_or(config, "query_timeout_seconds", None),
        tries=value_or(config, "query_tries", None),
    )


def _servers(messages: Iterable[address_pb2.Address], path: str) -> tuple[SocketAddress, ...]:
    found = []
    for i, each in enumerate(messages):
        decoded = ip_address(_as_tcp(each), f"{path}[{i}]")
        found.append(replace(decoded, port=decoded.port or 53))
    return tuple(found)


def _as_tcp(message: address_pb2.Address) -> address_pb2.Address:
    """A resolver's address may say UDP, which is what is spoken there anyway."""
    made = address_pb2.Address()
    made.CopyFrom(message)
    if made.HasField("socket_address"):
        made.socket_address.protocol = address_pb2.SocketAddress.TCP
    return made
