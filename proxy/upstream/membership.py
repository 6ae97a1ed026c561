"""Who belongs to a cluster: from what EDS, DNS or the configuration says to its hosts.

A host whose address stays keeps its identity, and with it connections, health and counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.config.model import ClusterLoadAssignment, Endpoint, LocalityEndpoints, SocketAddress
from proxy.upstream.balance.host_set import Zone
from proxy.upstream.host import Host


@dataclass(frozen=True, slots=True)
class Found:
    """One host as it was found. address: not that of the endpoint where a name stands there."""

    address: SocketAddress
    endpoint: Endpoint
    locality: Zone
    priority: int


def found_in(assignment: ClusterLoadAssignment) -> Iterator[Found]:
    """The endpoints as they stand there: their addresses need no resolving."""
    for group in assignment.localities:
        for endpoint in group.endpoints:
            yield found_at(endpoint.address, endpoint, group)


def found_at(address: SocketAddress, endpoint: Endpoint, group: LocalityEndpoints) -> Found:
    return Found(address, endpoint, group.locality, group.priority)


def merged(
    known: Mapping[SocketAddress, Host], found: Iterable[Found], now: float
) -> dict[SocketAddress, Host]:
    """The hosts from now on, by address; the first to name an address describes its host."""
    fresh: dict[SocketAddress, Host] = {}
    for one in found:
        if one.address in fresh:
            continue
        host = known.get(one.address)
        if host is None:
            host = Host(one.address)
            host.since = now
        host.describe(one.endpoint, one.locality, one.priority)
        fresh[one.address] = host
    return fresh


def by_priority(hosts: Iterable[Host]) -> dict[int, set[SocketAddress]]:
    members: dict[int, set[SocketAddress]] = {}
    for host in hosts:
        members.setdefault(host.priority, set()).add(host.address)
    return members


def changed(
    before: Mapping[int, set[SocketAddress]], after: Mapping[int, set[SocketAddress]]
) -> int:
    """How many priorities have other members now (Envoy counts each in `membership_change`)."""
    none: set[SocketAddress] = set()
    levels: Sequence[int] = sorted({*before, *after})
    return sum(before.get(level, none) != after.get(level, none) for level in levels)
