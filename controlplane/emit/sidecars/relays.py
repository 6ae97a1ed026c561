"""Bytes that go on as they are: TCP proxies to clusters, and what stands for unknown places."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit import managers, metering, on_demand, tunnels
from controlplane.emit.managers import NO_GUARDS
from controlplane.emit.sidecars.capture import BLACK_HOLE, LOOKED_UP, PASSTHROUGH, Capture
from controlplane.emit.sidecars.sni import looked_up_by_name
from controlplane.emit.targets import Targets
from controlplane.emit.words import cidr, packed
from controlplane.mesh.model import ConnectionPool, Destination

TCP_PROXY = "envoy.filters.network.tcp_proxy"
PASSTHROUGH_CHAIN = "PassthroughFilterChain"


def relay(
    destinations: tuple[Destination, ...],
    port: int,
    targets: Targets,
    capture: Capture,
    pool: ConnectionPool,
) -> Filter:
    """To one cluster, or to several by their weights. A weight of 0 gets nothing, unless it is the
    only one (Istio). pool: how long connections may live, of the service that is called; without
    its word they may be silent for Envoy's hour."""
    live = tuple(one for one in destinations if one.weight > 0) or destinations[:1]
    first = targets.cluster(live[0], port)
    proxy = TcpProxy(stat_prefix=first)
    if len(live) == 1:
        proxy.cluster = first
        tunnels.relay_within(proxy, live[0])
    for one in live if len(live) > 1 else ():
        name = targets.cluster(one, port)
        proxy.weighted_clusters.clusters.add(name=name, weight=one.weight)
    tunnels.relay_by_source(proxy, live)
    tunnels.bound_relay(proxy, pool)
    return _as_filter(proxy, capture)


def to_cluster(name: str, capture: Capture) -> Filter:
    return _as_filter(TcpProxy(stat_prefix=name, cluster=name), capture)


def counted(relay: Filter, capture: Capture) -> list[Filter]:
    """With what makes metrics of its connections."""
    metered = capture.logs.metered
    return metering.relayed(metered, metered.client, relay)


def _as_filter(proxy: TcpProxy, capture: Capture) -> Filter:
    if capture.on_demand:
        on_demand.relay(proxy)
    proxy.access_log.extend(managers.access_logs(capture.logs.client, NO_GUARDS))
    return Filter(name=TCP_PROXY, typed_config=packed(proxy))


def unknown_place(capture: Capture, targets: Targets) -> str:
    """The cluster of connections to no service of the mesh."""
    policy = capture.outbound
    if policy.mode == "REGISTRY_ONLY":
        return BLACK_HOLE
    return targets.cluster(policy.proxy, 0) if policy.proxy is not None else PASSTHROUGH


def elsewhere(capture: Capture, targets: Targets, port: int = 0) -> FilterChain:
    """The chain that takes what no other does. port: of a listener for TLS, whose server name says
    where to go if unknown places are looked up."""
    if port and capture.by_name and capture.outbound.mode == "ALLOW_ANY_DYNAMIC_DNS":
        to = to_cluster(LOOKED_UP, capture)
        filters = [looked_up_by_name(port), *counted(to, capture)]
    else:
        filters = counted(to_cluster(unknown_place(capture, targets), capture), capture)
    return FilterChain(name=PASSTHROUGH_CHAIN, filters=filters)


def ranges(written: Iterable[str]) -> list[CidrRange]:
    return [cidr(one) for one in written]
