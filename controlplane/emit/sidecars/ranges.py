"""Few ranges of addresses around many, which stay the same while services come and go in them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

MOST = 16
_FIRST_BITS = {4: 16, 6: 64}
_STEP = {4: 4, 6: 8}


def around(addresses: Iterable[str]) -> tuple[str, ...]:
    """At most `MOST` of each family, in order, as `10.96.0.0/16`: a cluster's services have few
    networks. Raises ValueError for what is no IP."""
    found: set[IPv4Network | IPv6Network] = set()
    # Most share their first half: an address object for each of thousands would be dear.
    for one in {_first_half(address): address for address in addresses}.values():
        network = ip_network(one)
        found.add(network.supernet(new_prefix=_FIRST_BITS[network.version]))
    return tuple(str(one) for version in _STEP for one in _few(found, version))


def _first_half(address: str) -> str:
    return address if ":" in address else address.rpartition(".")[0].rpartition(".")[0]


def _few(found: set[IPv4Network | IPv6Network], version: int) -> list[IPv4Network | IPv6Network]:
    some = {one for one in found if one.version == version}
    while len(some) > MOST:
        some = {one.supernet(_STEP[version]) for one in some}
    return sorted(some, key=lambda one: one.network_address.packed)
