"""The outbound listeners of an intercepting sidecar: put together from what services want of them,
and the one that connections come to first (Istio's virtualOutbound)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import (
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
)
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector

from controlplane.emit import families, managers, names
from controlplane.emit.sidecars import relays
from controlplane.emit.sidecars.capture import BLACK_HOLE, VIRTUAL_OUTBOUND, Capture
from controlplane.emit.sidecars.claims import Claim
from controlplane.emit.targets import Targets
from controlplane.emit.words import packed, seconds, socket_address

SERVER_FIRST = frozenset((25, 53, 3306, 27017))
"""Ports of protocols in which the server speaks first (Istio's): nobody can look at what the client
says, so that HTTP and TCP can't share them."""


_Place = tuple[bytes, str, str]
"""What else a chain asks for, a network and a server name; '' for any."""


def grouped(parts: Iterable[Iterable[Claim]], reserved: Iterable[int]) -> tuple[list[Claim], ...]:
    """Claims of one listener each, in their order. parts: of each egress; what one that names a
    port has taken is not for the services of a later one. reserved: the sidecar's own ports."""
    found: dict[tuple[str, int], list[Claim]] = {}
    own = frozenset(reserved)
    for part in parts:
        locked = frozenset(found)
        for claim in part:
            if claim.key not in locked and claim.port not in own:
                found.setdefault(claim.key, []).append(claim)
    return tuple(found[key] for key in sorted(found))


def listener(claims: Iterable[Claim], capture: Capture, targets: Targets) -> Listener:
    """Of claims to one address and port, of which there is one at least."""
    taken = _joined(claims)
    first = taken[0]
    made = Listener(
        name=names.listener(first.bind, first.port) if first.port else first.bind,
        address=socket_address(first.bind, first.port),
        traffic_direction=TrafficDirection.OUTBOUND,
        continue_on_listener_filters_timeout=True,
    )
    if first.bind == capture.wildcard:
        families.listen_at(made, first.port, capture.more)
    if not first.bound:
        made.bind_to_port.value = False
    _set_chains(made, [chain for claim in taken for chain in claim.chains])
    if not made.HasField("default_filter_chain") and _is_matched(made.filter_chains):
        only_tls = first.port if all(claim.tls_port for claim in taken) else 0
        made.default_filter_chain.CopyFrom(relays.elsewhere(capture, targets, only_tls))
    _inspect(made, capture)
    return made


def _joined(claims: Iterable[Claim]) -> list[Claim]:
    """HTTP of a port needs one chain only; TCP and HTTP share a port where the first bytes may be
    looked at, else whoever came first has it."""
    taken: list[Claim] = []
    for claim in claims:
        if taken and claim.port in SERVER_FIRST and claim.kind != taken[0].kind:
            continue
        taken.append(claim)
    return taken


def _set_chains(made: Listener, chains: Iterable[FilterChain]) -> None:
    """Of several for the same name or range the first, as Envoy takes no listener with a second.
    What matches everything is the default, so that it is found also where another chain matches in
    part."""
    seen: set[bytes] = set()
    taken: set[_Place] = set()
    for chain in chains:
        match = chain.filter_chain_match.SerializeToString(deterministic=True)
        if match in seen:
            continue
        seen.add(match)
        if not match:
            made.default_filter_chain.CopyFrom(chain)
        elif (free := _free(chain, taken)) is not None:
            made.filter_chains.append(free)
    if not made.filter_chains:
        made.filter_chains.append(made.default_filter_chain)
        made.ClearField("default_filter_chain")


def _free(chain: FilterChain, taken: set[_Place]) -> FilterChain | None:
    """The chain for those of its names, or else of its ranges, that are not taken; takes them."""
    rest = FilterChainMatch()
    rest.CopyFrom(chain.filter_chain_match)
    before = len(rest.server_names) or 1, len(rest.prefix_ranges) or 1
    names = tuple({one.lower(): one for one in rest.server_names}.values()) or ("",)
    by_range: dict[str, CidrRange | None] = {_network(one): one for one in rest.prefix_ranges}
    by_range = by_range or {"": None}
    rest.ClearField("server_names")
    rest.ClearField("prefix_ranges")
    kind = rest.SerializeToString(deterministic=True)

    def is_free(network: str, name: str) -> bool:
        return (kind, network, name.lower()) not in taken

    free_names = [one for one in names if all(is_free(network, one) for network in by_range)]
    free_ranges = list(by_range)
    if not free_names:
        free_names = list(names)
        free_ranges = [one for one in by_range if all(is_free(one, name) for name in names)]
    if not free_ranges:
        return None
    taken.update((kind, network, name.lower()) for network in free_ranges for name in free_names)
    if (len(free_names), len(free_ranges)) == before:
        return chain
    made = FilterChain()
    made.CopyFrom(chain)
    match = made.filter_chain_match
    match.ClearField("server_names")
    match.server_names.extend(filter(None, free_names))
    match.ClearField("prefix_ranges")
    left = (by_range[key] for key in free_ranges)
    match.prefix_ranges.extend(one for one in left if one is not None)
    return made


def _network(one: CidrRange) -> str:
    """Envoy looks at no more of an address than is meant."""
    return str(ip_network(f"{one.address_prefix}/{one.prefix_len.value}", strict=False))


def _is_matched(chains: Iterable[FilterChain]) -> bool:
    return any(chain.HasField("filter_chain_match") for chain in chains)


def _inspect(made: Listener, capture: Capture) -> None:
    matches = [chain.filter_chain_match for chain in made.filter_chains]
    if any(match.server_names or match.application_protocols for match in matches):
        made.listener_filters.append(managers.inspector())
    if any(match.application_protocols for match in matches):
        made.listener_filters.append(http_inspector())
    timeout_s = capture.settings.detection_timeout_s
    made.listener_filters_timeout.CopyFrom(seconds(timeout_s))


def http_inspector() -> ListenerFilter:
    """Tells HTTP from other bytes, and its versions."""
    config = packed(HttpInspector())
    return ListenerFilter(name="envoy.filters.listener.http_inspector", typed_config=config)


def virtual_outbound(capture: Capture, targets: Targets) -> Listener:
    """Where all connections come that are intercepted. It hands them to the listener of their
    destination; what has none is here. Nobody may connect to the port itself: that would go round
    in circles."""
    port = capture.settings.outbound_port
    shut = FilterChain(
        name=f"{VIRTUAL_OUTBOUND}-blackhole", filters=[relays.to_cluster(BLACK_HOLE, capture)]
    )
    shut.filter_chain_match.destination_port.value = port
    rest = relays.elsewhere(capture, targets)
    rest.name = f"{VIRTUAL_OUTBOUND}-catchall-tcp"
    made = Listener(
        name=VIRTUAL_OUTBOUND,
        address=socket_address(capture.wildcard, port),
        traffic_direction=TrafficDirection.OUTBOUND,
        filter_chains=[shut, rest],
    )
    families.listen_at(made, port, capture.more)
    made.use_original_dst.value = True
    if capture.transparent:
        made.transparent.value = True
    return made
