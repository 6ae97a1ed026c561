"""Of which families of addresses a proxy is (Istio's IP mode), and where it listens by that.

By the address in its id, those that it says it has (INSTANCE_IPS), and those of its pod. A proxy of
both families listens at its first one, and at the other as an additional address.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.emit.node import Node
from controlplane.emit.words import is_ipv6, socket_address
from controlplane.mesh.model import Workload

EVERYWHERE = {False: "0.0.0.0", True: "::"}
"""By whether it is IPv6."""


def wildcards(node: Node, workload: Workload | None) -> tuple[str, ...]:
    """The addresses that stand for all of the node's, its own family first."""
    found = [node.ipv6]
    there = workload.addresses if workload is not None else ()
    if node.dual or any(is_ipv6(one) is not node.ipv6 for one in there):
        found.append(not node.ipv6)
    return tuple(EVERYWHERE[one] for one in found)


def within(addresses: Iterable[str], wildcard: str, second: str) -> tuple[str, ...]:
    """Those that connections of such a proxy may go to; if there are none, all: what else could be
    meant by them."""
    every = tuple(addresses)
    mine = tuple(one for one in every if EVERYWHERE[":" in one] in (wildcard, second))
    return mine or every


def listen_at(made: Listener, port: int, more: Iterable[str]) -> None:
    """The listener at these addresses, too."""
    for address in more:
        made.additional_addresses.add(address=socket_address(address, port))
