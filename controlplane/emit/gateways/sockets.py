"""Where the listeners of gateways and a proxy's other listeners would be at one place."""

from __future__ import annotations

from dataclasses import replace

from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.snapshot import Draft


def apart(own: Draft, edge: Draft) -> Draft:
    """`edge` without the listeners whose place `own` has, which stay: with both the proxy would
    refuse one, and our own check everything."""
    lost = set(taken(own, edge))
    return replace(edge, listeners=tuple(one for one in edge.listeners if one.name not in lost))


def taken(own: Draft, edge: Draft) -> tuple[str, ...]:
    """Names of the gateways' listeners whose place is taken."""
    there = set(map(_socket, own.listeners))
    return tuple(one.name for one in edge.listeners if _socket(one) in there)


def _socket(listener: Listener) -> tuple[str, int]:
    address = listener.address.socket_address
    return address.address, address.port_value
