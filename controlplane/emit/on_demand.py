"""What lets a proxy hold only what it calls: virtual hosts and clusters are fetched by name when a
request needs them (Envoy's VHDS and on-demand CDS, over ADS).

The table of routes is empty and says where virtual hosts come from. A request whose host it does
not know waits until the control plane has answered, and so for the cluster of its route.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand, OnDemandCds
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit.words import over_ads, packed, seconds

NAME = "envoy.filters.http.on_demand"
TIMEOUT_S = 5.0
"""How long a request or a connection waits for a cluster."""

_CLUSTER = re.compile(rb"outbound\|\d+\|[^|\x00-\x1f]*\|[-\w.*]+")


def http_filter() -> hcm_pb2.HttpFilter:
    clusters = OnDemandCds(source=over_ads(), timeout=seconds(TIMEOUT_S))
    return hcm_pb2.HttpFilter(name=NAME, typed_config=packed(OnDemand(odcds=clusters)))


def relay(proxy: TcpProxy) -> None:
    """Connections wait for their cluster, too."""
    proxy.on_demand.odcds_config.CopyFrom(over_ads())
    proxy.on_demand.timeout.CopyFrom(seconds(TIMEOUT_S))


def fetched(table: RouteConfiguration) -> RouteConfiguration:
    """The table whose virtual hosts come by VHDS."""
    made = RouteConfiguration()
    made.CopyFrom(table)
    made.ClearField("virtual_hosts")
    made.vhds.config_source.CopyFrom(over_ads())
    return made


def resource_name(table: str, host: str) -> str:
    """By which a proxy asks for the virtual host of a request's host."""
    return f"{table}/{host}"


def clusters_of(messages: Iterable[Listener | RouteConfiguration]) -> frozenset[str]:
    """Names of services' clusters in a node's own listeners and tables (as of authorization
    services, and of a gateway's routes), which are not fetched and so have to be there."""
    texts = (message.SerializeToString() for message in messages)
    return frozenset(found.decode() for text in texts for found in _CLUSTER.findall(text))
