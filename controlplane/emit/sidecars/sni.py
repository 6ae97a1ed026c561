"""TLS to a place that is looked up by the server name in it (Envoy's sni_dynamic_forward_proxy)."""

from __future__ import annotations

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3 import (
    sni_dynamic_forward_proxy_pb2 as sni_pb2,
)

from controlplane.emit.dynamic import cache
from controlplane.emit.words import packed

NAME = "envoy.filters.network.sni_dynamic_forward_proxy"


def looked_up_by_name(port: int) -> Filter:
    """Before the relay to a cluster that finds its hosts so."""
    config = sni_pb2.FilterConfig(dns_cache_config=cache(), port_value=port)
    return Filter(name=NAME, typed_config=packed(config))
