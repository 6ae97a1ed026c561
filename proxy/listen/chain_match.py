"""Which filter chain serves a connection: Envoy's FilterChainMatch, compiled to a look-up.

Pure. The criteria are looked at in Envoy's order, each time the most specific value that fits is
taken, and there is no way back: a chain for port 80 that fails on its server name does not fall
back to chains without a port, but to the default chain. The order:

    destination port, destination IP, server name (exact, then *.suffix by length, then any),
    transport protocol, application protocols (the client's order), source IP, source port
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from proxy.config.model import CidrRange, FilterChainMatch
from proxy.connection import ConnectionInfo

T = TypeVar("T")

# The key of a level that matches whatever has no key of its own.
_ANY_PORT = 0
_ANY_NAME = ""
_ANY_RANGE = None

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Tree = dict[Any, Any]


class ChainMatchError(Exception):
    """The chains of a listener cannot be told apart, or a criterion is malformed."""


class ChainTable(Generic[T]):
    """The chains of one listener; `find` answers the chain, the default, or None."""

    __slots__ = ("_default", "_only", "_ports")

    def __init__(
        self, chains: Iterable[tuple[FilterChainMatch, T]], default: T | None = None
    ) -> None:
        """Raises ChainMatchError when two chains match the same connections."""
        pairs = list(chains)
        self._default = default
        self._only = pairs[0][1] if len(pairs) == 1 and pairs[0][0] == FilterChainMatch() else None
        self._ports: _Tree = {}
        for match, chain in pairs:
            for path in _paths(match):
                _insert(self._ports, path, chain)

    def find(self, info: ConnectionInfo, transport_protocol: str = "raw_buffer") -> T | None:
        """By what the listener filters found out: `info.local` is the destination, `info.sni` in
        lower case, `info.offered_alpn`; transport_protocol is `tls` or `raw_buffer`."""
        if self._only is not None:
            return self._only
        found: T | None = self._find(info, transport_protocol)
        return self._default if found is None else found

    def _find(self, info: ConnectionInfo, transport_protocol: str) -> Any:
        host, port = info.local
        addresses = _or_any(self._ports, port, _ANY_PORT)
        names = _most_specific(addresses, host) if addresses else None
        protocols = _by_server_name(names, info.sni) if names else None
        alpns = _or_any(protocols, transport_protocol, _ANY_NAME) if protocols else None
        sources = _by_alpn(alpns, info.offered_alpn) if alpns else None
        ports = _most_specific(sources, info.remote[0]) if sources else None
        return _or_any(ports, info.remote[1], _ANY_PORT) if ports else None


# --------------------------------------------------------------------------- look-up


def _or_any(level: _Tree, key: Hashable, any_key: Hashable) -> Any:
    found = level.get(key)
    return level.get(any_key) if found is None else found


def _by_server_name(level: _Tree, name: str) -> Any:
    """`www.example.com`, then `.example.com`, then `.com`, then any."""
    found = level.get(name)
    dot = name.find(".", 1)
    while found is None and dot != -1:
        found = level.get(name[dot:])
        dot = name.find(".", dot + 1)
    return level.get(_ANY_NAME) if found is None else found


def _by_alpn(level: _Tree, offered: Sequence[str]) -> Any:
    for protocol in offered:
        if protocol in level:
            return level[protocol]
    return level.get(_ANY_NAME)


def _most_specific(level: _Tree, host: str) -> Any:
    """The longest network that holds the address; levels without networks cost one look-up."""
    if len(level) == 1 and _ANY_RANGE in level:
        return level[_ANY_RANGE]
    address = _address(host)
    if address is not None:
        fitting = [network for network in level if network is not None and address in network]
        if fitting:
            return level[max(fitting, key=lambda network: network.prefixlen)]
    return level.get(_ANY_RANGE)


def _address(host: str) -> _Address | None:
    """None for a Unix socket; an IPv4-mapped address as IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


# --------------------------------------------------------------------------- compiling


def _paths(match: FilterChainMatch) -> Iterator[tuple[Hashable, ...]]:
    """Every way down the tree that ends at this chain, in the order of precedence."""
    for network in _networks(match.prefix_ranges):
        for name in [_server_name(name) for name in match.server_names] or [_ANY_NAME]:
            for alpn in match.application_protocols or (_ANY_NAME,):
                for source in _networks(match.source_prefix_ranges):
                    for port in match.source_ports or (_ANY_PORT,):
                        yield (
                            match.destination_port or _ANY_PORT,
                            network,
                            name,
                            match.transport_protocol,
                            alpn,
                            source,
                            port,
                        )


def _networks(ranges: Sequence[CidrRange]) -> list[_Network | None]:
    if not ranges:
        return [_ANY_RANGE]
    try:
        return [
            ipaddress.ip_network(f"{each.address}/{each.prefix_len}", strict=False)
            for each in ranges
        ]
    except ValueError as error:
        raise ChainMatchError(f"prefix range: {error}") from None


def _server_name(name: str) -> str:
    """`*.example.com` is kept as `.example.com`, which the look-up meets on its way up."""
    plain = name[1:] if name.startswith("*.") else name
    if "*" in plain:
        raise ChainMatchError(f"server name {name!r}: partial wildcards are not supported")
    return plain.lower()


def _insert(tree: _Tree, path: tuple[Hashable, ...], chain: object) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    if path[-1] in tree:
        raise ChainMatchError("multiple filter chains with overlapping matching rules are defined")
    tree[path[-1]] = chain
