"""STRICT_DNS and LOGICAL_DNS: a cluster's hosts are what its names resolve to, asked repeatedly.

A name that does not resolve keeps its last addresses: DNS being away is no reason to drop hosts
that may well be alive (Envoy's rule).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from proxy.config.model import ClusterLoadAssignment, Endpoint, SocketAddress
from proxy.tasks import spawn
from proxy.upstream.cluster import Cluster

Found = tuple[SocketAddress, Endpoint, tuple[str, str, str], int]

_FAMILIES = {"V4_ONLY": socket.AF_INET, "V6_ONLY": socket.AF_INET6}


class DnsMembership:
    """Resolves from its making until `stop`."""

    def __init__(self, cluster: Cluster, assignment: ClusterLoadAssignment) -> None:
        self._cluster = cluster
        self._assignment = assignment
        self._last: dict[SocketAddress, list[str]] = {}
        self._task = spawn(self._run(), f"dns {cluster.name}")

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self._cluster.set_addresses(await self._resolve_all())
            await asyncio.sleep(self._cluster.config.dns_refresh_rate_s)

    async def _resolve_all(self) -> list[Found]:
        found: list[Found] = []
        only_first = self._cluster.config.type == "LOGICAL_DNS"
        for group in self._assignment.localities:
            for endpoint in group.endpoints:
                addresses = await self._resolve(endpoint.address)
                found.extend(
                    (SocketAddress(address, endpoint.address.port), endpoint,
                     group.locality, group.priority)
                    for address in (addresses[:1] if only_first else addresses)
                )  # fmt: skip
        return found

    async def _resolve(self, name: SocketAddress) -> list[str]:
        if _is_ip(name.host):
            return [name.host]
        stats = self._cluster.all_stats
        stats.counter(f"{self._cluster.prefix}update_attempt").value += 1
        lookup = self._cluster.config.dns_lookup_family
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.getaddrinfo(
                name.host, name.port,
                family=_FAMILIES.get(lookup, socket.AF_UNSPEC), type=socket.SOCK_STREAM,
            )  # fmt: skip
        except (OSError, UnicodeError):  # the latter: a label that is empty or too long
            stats.counter(f"{self._cluster.prefix}update_failure").value += 1
            return self._last.get(name, [])
        addresses = _preferred(lookup, [(answer[0], str(answer[4][0])) for answer in answers])
        self._last[name] = addresses
        return addresses


def _preferred(lookup: str, answers: list[tuple[int, str]]) -> list[str]:
    """AUTO: IPv6 if there is any, else IPv4; V4_PREFERRED the other way; ALL: both."""
    four = list(dict.fromkeys(text for family, text in answers if family == socket.AF_INET))
    six = list(dict.fromkeys(text for family, text in answers if family == socket.AF_INET6))
    if lookup == "ALL":
        return four + six
    return (four or six) if lookup == "V4_PREFERRED" else (six or four)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
