"""What of the outbound side an intercepting sidecar holds from the start that asks for the rest by
name, as connections and requests need it (on demand).

    what                        asked for as               by
    the listener of a port      0.0.0.0_PORT               the first connection to the port
    one of an address           ADDRESS_PORT               the first connection there, of ports that
                                                           have any such listener
    a virtual host of a port    PORT/HOST (VHDS)           the first request for the host
    a cluster                   its name (on-demand CDS)   the first request or connection for it

It is taken from the whole, which stays what it is: names, patches and rules are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit import names, on_demand
from controlplane.emit.sidecars import ranges, tables
from controlplane.emit.sidecars.capture import VIRTUAL_OUTBOUND
from controlplane.emit.words import packed
from protos.frozen import frozen

ASKS = "weft.on_demand"
"""The namespace of a listener's metadata: who is handed a connection asks for a better listener.
Its field `ranges` says for which addresses there may be one."""


@frozen
class Place:
    """A listener under the name by which it is asked for, if it is not there from the start. asks:
    connections that come to it ask on, if they go to one of these ranges; (): wherever they go."""

    name: str
    message: Listener
    held: bool
    asks: tuple[str, ...] | None = None
    address: str = ""


def places(listeners: Iterable[Listener], wildcard: str) -> Iterator[Place]:
    """wildcard: the address that stands for all. A port of which there are listeners at addresses
    only gets one, too, that does what virtualOutbound would."""
    outbound: Listener | None = None
    handed_to: list[tuple[Listener, int, tuple[str, ...]]] = []
    for one in listeners:
        if _is_handed_to(one):
            handed_to.append((one, _port(one), _addresses(one)))
            continue
        if one.name == VIRTUAL_OUTBOUND:
            outbound = one
        yield Place(one.name, one, True, () if one is outbound else None)
    apart: dict[int, list[str]] = {}
    for _, port, addresses in handed_to:
        if wildcard not in addresses:
            apart.setdefault(port, []).extend(addresses)
    asking = {port: ranges.around(found) for port, found in apart.items()}
    for one, port, addresses in handed_to:
        if wildcard in addresses:
            yield Place(one.name, one, False, asking.get(port))
            continue
        for address in addresses:
            yield Place(names.listener(address, port), one, False, address=address)
    if outbound is not None:
        shared = {port for _, port, addresses in handed_to if wildcard in addresses}
        for port in sorted(asking.keys() - shared):
            name = names.listener(wildcard, port)
            yield Place(name, outbound, False, asking[port], wildcard)


def listener(place: Place) -> Listener:
    """The message of a place."""
    made = Listener()
    made.CopyFrom(place.message)
    if place.asks is not None:
        said = made.metadata.filter_metadata[ASKS]
        said.SetInParent()
        if place.asks:
            said.update({"ranges": list(place.asks)})
    if made.name == place.name:
        return made
    made.name = place.name
    made.address.socket_address.address = place.address
    if place.message.name == VIRTUAL_OUTBOUND:
        _stand_in(made, int(place.name.rpartition("_")[2]))
    else:
        made.ClearField("additional_addresses")
    return made


def _stand_in(made: Listener, port: int) -> None:
    """Of virtualOutbound, for a port that has no listener of its own."""
    own = made.address.socket_address.port_value
    rest = [
        one for one in made.filter_chains if one.filter_chain_match.destination_port.value != own
    ]
    made.ClearField("filter_chains")
    made.filter_chains.extend(rest)
    for address in (made.address, *(one.address for one in made.additional_addresses)):
        address.socket_address.port_value = port
    made.ClearField("use_original_dst")
    made.ClearField("transparent")
    made.bind_to_port.value = False


def _is_handed_to(one: Listener) -> bool:
    """It has no socket of its own."""
    return one.HasField("bind_to_port") and not one.bind_to_port.value


def _port(one: Listener) -> int:
    return one.address.socket_address.port_value


def _addresses(one: Listener) -> tuple[str, ...]:
    others = (extra.address.socket_address.address for extra in one.additional_addresses)
    return (one.address.socket_address.address, *others)


def needed(made: Listener) -> frozenset[str]:
    """Clusters of services that it names beside those of connections: nobody asks for them."""
    bare = Listener()
    bare.CopyFrom(made)
    chains = list(bare.filter_chains)
    if bare.HasField("default_filter_chain"):
        chains.append(bare.default_filter_chain)
    for chain in chains:
        _forget_relays(chain)
    return on_demand.clusters_of((bare,))


def _forget_relays(chain: FilterChain) -> None:
    for one in chain.filters:
        relay = TcpProxy()
        if one.typed_config.Unpack(relay):
            for name in ("stat_prefix", "cluster", "weighted_clusters"):
                relay.ClearField(name)
            one.typed_config.CopyFrom(packed(relay))


# --------------------------------------------------------------------------- routes


def is_fetched(table: RouteConfiguration) -> bool:
    """Whether its virtual hosts come by name: not the one of a single service, which takes every
    host."""
    return tables.is_shared(table.name)


def hosts(table: RouteConfiguration) -> Iterator[tuple[VirtualHost, tuple[str, ...]]]:
    """Its virtual hosts under the names of their resources, and by which names they are asked
    for, too."""
    for host in table.virtual_hosts:
        made = VirtualHost()
        made.CopyFrom(host)
        made.name = on_demand.resource_name(table.name, host.name)
        found = (on_demand.resource_name(table.name, one.lower()) for one in host.domains)
        yield made, tuple(one for one in dict.fromkeys(found) if one != made.name)


def copied_to(table: RouteConfiguration) -> frozenset[str]:
    """Clusters that get copies of requests, which wait for nothing."""
    bare = RouteConfiguration()
    for host in table.virtual_hosts:
        for route in host.routes:
            bare.request_mirror_policies.extend(route.route.request_mirror_policies)
    return on_demand.clusters_of((bare,))
