"""The inbound side of an intercepting sidecar: one listener for all ports of the workload (Istio's
virtualInbound), with filter chains for each port that a service has, and some for all others.

What comes in by which chain is decided by the port's mTLS mode and by what is spoken there: STRICT
takes mutual TLS only, PERMISSIVE anything, DISABLE does not look at TLS.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import TrafficDirection, TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc

from controlplane.emit import entering, families, names, tls
from controlplane.emit.access import Guards
from controlplane.emit.explanations import of_tokens
from controlplane.emit.gateways.tls import HTTP_ALPN, downstream
from controlplane.emit.routes import HTTP_PROTOCOLS
from controlplane.emit.sidecars import relays
from controlplane.emit.sidecars.capture import (
    BLACK_HOLE,
    PLAIN_HTTP,
    VIRTUAL_INBOUND,
    Capture,
)
from controlplane.emit.sidecars.inspectors import inspectors
from controlplane.emit.sidecars.ports import Port, ports_of
from controlplane.emit.words import packed, seconds, socket_address
from controlplane.mesh.model import Workload
from protos.frozen import frozen

OWN_MARK = 1337
"""Of connections to the application that come from their client's address, so that rules of the
kernel leave them alone (Istio's)."""
MUTUAL_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MUTUAL_BYTES = ("istio-peer-exchange", "istio")
"""What sidecars say in TLS of what is inside (Istio's)."""


@frozen
class Way:
    """One filter chain of a port. mutual: TLS is ended there. transport '': TLS or not."""

    http: bool
    transport: str = ""
    protocols: tuple[str, ...] = ()
    secured: bool = False


_HTTP, _BYTES = Way(True), Way(False)
_RAW_HTTP = Way(True, "raw_buffer", PLAIN_HTTP)
_ENDED_HTTP, _ENDED_BYTES = Way(True, "tls", secured=True), Way(False, "tls", secured=True)
_ANY = (*MUTUAL_HTTP, *MUTUAL_BYTES)
_OF_GRPC = "h2"
"""What gRPC's own xDS clients say, whose mutual TLS knows no words of Istio's."""
_WAYS: dict[tuple[str, str], tuple[Way, ...]] = {
    ("STRICT", "HTTP"): (_ENDED_HTTP,),
    ("STRICT", "TCP"): (_ENDED_BYTES,),
    ("STRICT", "AUTO"): (Way(True, "tls", MUTUAL_HTTP, True), _ENDED_BYTES),
    ("DISABLE", "HTTP"): (_HTTP,),
    ("DISABLE", "TCP"): (_BYTES,),
    ("DISABLE", "AUTO"): (_RAW_HTTP, Way(False, "raw_buffer"), Way(False, "tls")),
    ("PERMISSIVE", "HTTP"): (
        Way(True, "tls", (*_ANY, _OF_GRPC), True),
        Way(True, "raw_buffer"),
    ),
    ("PERMISSIVE", "TCP"): (
        Way(False, "tls", _ANY, True),
        Way(False, "raw_buffer"),
        Way(False, "tls"),
    ),
    ("PERMISSIVE", "AUTO"): (
        Way(True, "tls", MUTUAL_HTTP, True),
        _RAW_HTTP,
        Way(False, "tls", MUTUAL_BYTES, True),
        Way(False, "raw_buffer"),
        Way(False, "tls"),
    ),
}
"""By mode and what is spoken. Of PERMISSIVE TLS that is not the mesh's goes on as bytes, but not
to a port that is known to be HTTP in plain text: there whoever speaks it is to be of the mesh."""


@frozen
class Inside:
    """What all chains of one workload have in common. denied: as in `listeners.inbound`."""

    workload: Workload
    capture: Capture
    guards: Guards
    trust_domains: tuple[str, ...]
    denied: tuple[str, ...] | None = None


def inbound(inside: Inside) -> list[Listener]:
    """The virtual listener, and one for each port that has a socket of its own."""
    ports = ports_of(inside.workload, inside.capture)
    captured = [port for port in ports if not port.bound]
    chains = [_shut(inside.capture)]
    chains += [chain for port in captured for chain in _chains(port, inside)]
    made = [_virtual(chains, inside.capture)]
    bound = (port for port in ports if port.bound)
    made += [_bound(port, list(_chains(port, inside)), inside.capture) for port in bound]
    return made


def tables(inside: Inside) -> list[RouteConfiguration]:
    """For a plain Envoy: the routes, which refuse revoked identities."""
    if inside.denied is None:
        return []
    found: dict[str, RouteConfiguration] = {}
    for port in ports_of(inside.workload, inside.capture):
        if any(way.http for way in _ways(port)):
            found.setdefault(port.cluster, entering.table(_place(port), inside.denied))
    return list(found.values())


# --------------------------------------------------------------------------- listeners


def _virtual(chains: list[FilterChain], capture: Capture) -> Listener:
    made = _listener(VIRTUAL_INBOUND, capture.wildcard, capture.settings.inbound_port, capture)
    families.listen_at(made, capture.settings.inbound_port, capture.more)
    made.filter_chains.extend(chains)
    original = packed(OriginalDst())
    found = ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=original)
    made.listener_filters.append(found)
    if capture.transparent:
        made.transparent.value = True
        keeps = ListenerFilter(name="envoy.filters.listener.original_src")
        keeps.typed_config.CopyFrom(packed(OriginalSrc(mark=OWN_MARK)))
        made.listener_filters.append(keeps)
    made.listener_filters.extend(inspectors(chains, capture.settings.inbound_port))
    return made


def _bound(port: Port, chains: list[FilterChain], capture: Capture) -> Listener:
    made = _listener(names.listener(port.bind, port.match), port.bind, port.match, capture)
    for chain in chains:
        chain.filter_chain_match.ClearField("destination_port")
    made.filter_chains.extend(chains)
    made.listener_filters.extend(inspectors(chains))
    return made


def _listener(name: str, address: str, number: int, capture: Capture) -> Listener:
    made = Listener(
        name=name,
        address=socket_address(address, number),
        traffic_direction=TrafficDirection.INBOUND,
        continue_on_listener_filters_timeout=True,
    )
    timeout_s = capture.settings.detection_timeout_s
    made.listener_filters_timeout.CopyFrom(seconds(timeout_s))
    return made


def _shut(capture: Capture) -> FilterChain:
    """Nobody may connect to the port itself: that would go round in circles."""
    name = f"{VIRTUAL_INBOUND}-blackhole"
    made = FilterChain(name=name, filters=[relays.to_cluster(BLACK_HOLE, capture)])
    made.filter_chain_match.destination_port.value = capture.settings.inbound_port
    return made


# --------------------------------------------------------------------------- chains


def _ways(port: Port) -> tuple[Way, ...]:
    kind = "AUTO" if port.assumed else "HTTP" if port.protocol in HTTP_PROTOCOLS else "TCP"
    if port.own_tls is not None:
        return (Way(kind == "HTTP", "tls", secured=True),)
    return _WAYS[port.mtls, kind]


def _chains(port: Port, inside: Inside) -> Iterable[FilterChain]:
    for way in _ways(port):
        made = FilterChain(name=port.chain_name(way.http), filters=_filters(port, way, inside))
        match = made.filter_chain_match
        match.transport_protocol = way.transport
        match.application_protocols.extend(way.protocols)
        if port.match:
            match.destination_port.value = port.match
        if not match.ByteSize():
            made.ClearField("filter_chain_match")
        if way.secured:
            made.transport_socket.CopyFrom(_tls(port, way, inside))
        if inside.guards.tokens:
            made.metadata.CopyFrom(of_tokens(inside.guards.tokens, inside.guards.in_body))
        yield made


def _tls(port: Port, way: Way, inside: Inside) -> TransportSocket:
    if port.own_tls is not None:
        return downstream(port.own_tls, inside.trust_domains, HTTP_ALPN if way.http else ())
    alpn = names.server_alpn("HTTP" if way.http else "TCP")
    return tls.downstream_mutual(inside.trust_domains, alpn, inside.guards.mutual_tls)


def _filters(port: Port, way: Way, inside: Inside) -> list[Filter]:
    make = entering.over_http if way.http else entering.as_bytes
    return make(_place(port), inside.guards, inside.denied, inside.capture.logs)


def _place(port: Port) -> entering.Place:
    known = port.stat_prefix, port.match, port.numbers, port.number
    return entering.Place(port.cluster, *known, port.protocol == "GRPC")
