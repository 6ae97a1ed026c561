"""Decodes the dynamic forward proxy filter, and what a route says to it."""

from __future__ import annotations

from envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2

from protos.frozen import frozen
from proxy.config.decode_common import parse
from proxy.config.decode_dns import dns_cache
from proxy.config.model.discovery import DnsCache
from proxy.config.rejected import Rejected, at

_CONFIG = dynamic_forward_proxy_pb2.FilterConfig
_PER_ROUTE = dynamic_forward_proxy_pb2.PerRouteConfig
TYPE_URL = f"type.googleapis.com/{_CONFIG.DESCRIPTOR.full_name}"
PER_ROUTE_TYPE_URL = f"type.googleapis.com/{_PER_ROUTE.DESCRIPTOR.full_name}"


@frozen
class HostRewrite:
    """What the host is before it is resolved; header is in lower case. b'' keeps it."""

    literal: bytes = b""
    header: bytes = b""


def decode(value: bytes, path: str) -> DnsCache:
    message = parse(_CONFIG, value, path)
    if not message.HasField("dns_cache_config"):
        raise Rejected(at(path, "dns_cache_config"), "is required")
    return dns_cache(message.dns_cache_config, at(path, "dns_cache_config"))


def decode_per_route(value: bytes, path: str) -> HostRewrite:
    message = parse(_PER_ROUTE, value, path)
    return HostRewrite(
        message.host_rewrite_literal.encode(), message.host_rewrite_header.lower().encode()
    )
