"""Decodes which kind a cluster is, and what belongs to that kind alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2

from protos.frozen import frozen
from proxy.config.any_types import message_type
from proxy.config.decode_common import enum_name, type_name, unpack, unsupported_type, value_or
from proxy.config.decode_dns import dns, dns_cache, dns_cluster
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import ClusterType, HttpProtocolOptions
from proxy.config.model.balancing import Lb, MaglevLb, ProvidedLb, RingHashLb
from proxy.config.model.discovery import DEFAULT_DNS, Dns, DnsCache, OriginalDst
from proxy.config.rejected import Rejected, at

_C = cluster_pb2.Cluster
_TYPES: Mapping[int, ClusterType] = {
    _C.STATIC: "STATIC",
    _C.STRICT_DNS: "STRICT_DNS",
    _C.LOGICAL_DNS: "LOGICAL_DNS",
    _C.EDS: "EDS",
    _C.ORIGINAL_DST: "ORIGINAL_DST",
}
_PROVIDING = ("ORIGINAL_DST", "AGGREGATE", "DYNAMIC_FORWARD_PROXY")
_DNS_TYPES = ("STRICT_DNS", "LOGICAL_DNS")
_AGGREGATE = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
_DNS = "envoy.extensions.clusters.dns.v3.DnsCluster"
_FORWARD = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
_EXTENSIONS = (_AGGREGATE, _DNS, _FORWARD)
_DEFAULT_HEADER = "x-envoy-original-dst-host"


@frozen
class Discovery:
    """A cluster's kind with its own configuration."""

    type: ClusterType
    dns: Dns = DEFAULT_DNS
    clusters: tuple[str, ...] = ()
    dns_cache: DnsCache | None = None
    original_dst: OriginalDst | None = None
    may_be_insecure: bool = False


def discovery(message: cluster_pb2.Cluster, path: str) -> Discovery:
    if message.HasField("cluster_type"):
        return _typed(message, at(path, "cluster_type.typed_config"))
    if message.type not in _TYPES:
        name = enum_name(_C.DiscoveryType, message.type)
        raise Rejected(at(path, "type"), f"{name} is {UNSUPPORTED}")
    kind = _TYPES[message.type]
    if kind in _DNS_TYPES:
        return Discovery(kind, dns=dns(message, path))
    if kind == "ORIGINAL_DST":
        return Discovery(kind, original_dst=_original_dst(message, path))
    return Discovery(kind)


def check_balancing(found: Discovery, lb: Lb, typed: bool, path: str) -> None:
    """Envoy: a kind that finds its hosts by request says itself who is picked, and only such.

    typed: the policy is an extension."""
    if (found.type in _PROVIDING) != isinstance(lb, ProvidedLb):
        why = "is for clusters of the types ORIGINAL_DST, aggregate and dynamic_forward_proxy only"
        if found.type in _PROVIDING:
            why = f"must be CLUSTER_PROVIDED for a cluster of type {found.type}"
        raise Rejected(at(path, "lb_policy"), why)
    by_name = isinstance(lb, RingHashLb | MaglevLb) and lb.use_hostname
    if by_name and not typed and found.type != "STRICT_DNS":
        where = at(path, "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing")
        raise Rejected(where, f"is not for a cluster of type {found.type}")


def checked_names(
    message: cluster_pb2.Cluster, found: Discovery, http: HttpProtocolOptions, path: str
) -> HttpProtocolOptions:
    """A dynamic forward proxy speaks TLS to whoever the request names: the certificate must have
    that name, unless the configuration says otherwise twice."""
    if found.type != "DYNAMIC_FORWARD_PROXY" or (http.auto_sni and http.auto_san_validation):
        return http
    told = bool(message.typed_extension_protocol_options)
    if not told and not message.HasField("upstream_http_protocol_options"):
        return replace(http, auto_sni=True, auto_san_validation=True)
    if not found.may_be_insecure:
        why = "must set auto_sni and auto_san_validation, or allow_insecure_cluster_options"
        raise Rejected(at(path, "typed_extension_protocol_options"), why)
    return http


def _typed(message: cluster_pb2.Cluster, path: str) -> Discovery:
    packed = message.cluster_type.typed_config
    name = type_name(packed)
    if name not in _EXTENSIONS:
        raise unsupported_type(packed, path, _EXTENSIONS)
    config: Any = unpack(message_type(name), packed, path)
    if name == _AGGREGATE:
        return Discovery("AGGREGATE", clusters=tuple(config.clusters))
    if name == _DNS:
        logical = config.all_addresses_in_single_endpoint
        return Discovery("LOGICAL_DNS" if logical else "STRICT_DNS", dns_cluster(config, path))
    if not config.HasField("dns_cache_config"):
        raise Rejected(at(path, "dns_cache_config"), "is required")
    where = at(path, "dns_cache_config")
    cache = dns_cache(config.dns_cache_config, where)
    insecure = config.allow_insecure_cluster_options
    return Discovery("DYNAMIC_FORWARD_PROXY", dns_cache=cache, may_be_insecure=insecure)


def _original_dst(message: cluster_pb2.Cluster, path: str) -> OriginalDst:
    config = message.original_dst_lb_config
    if message.HasField("load_assignment"):
        raise Rejected(at(path, "load_assignment"), "is set in a cluster of type ORIGINAL_DST")
    header = ""
    if config.use_http_header:
        header = config.http_header_name.lower() or _DEFAULT_HEADER
    key = None
    if config.HasField("metadata_key"):
        segments = tuple(each.key for each in config.metadata_key.path)
        key = (config.metadata_key.key, segments)
    return OriginalDst(header.encode(), value_or(config, "upstream_port_override", 0), key)
