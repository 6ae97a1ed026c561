"""ORIGINAL_DST: the host is where the client meant to go, or what a header of the request says.

Hosts come with requests, and go when nobody has asked for them for one `cleanup_interval`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from random import Random
from time import monotonic
from typing import Any

from proxy.config.model import Cluster as ClusterConfig
from proxy.config.model import Endpoint, SocketAddress
from proxy.config.model.discovery import OriginalDst
from proxy.stats import Stats
from proxy.upstream.balance import PickContext
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool import Pool

_NOWHERE = ("", "", "")


class OriginalDstCluster(Cluster):
    def __init__(
        self,
        config: ClusterConfig,
        stats: Stats,
        random: Random,
        open_connection: Callable[[Pool], None],
        tls_for: Callable[[Host], object],
    ) -> None:
        self._by_address: dict[SocketAddress, Host] = {}
        self._used: set[SocketAddress] = set()
        self._cleaned_at = monotonic()
        super().__init__(config, stats, random, open_connection, tls_for)

    def rebuild(self) -> None:
        super().rebuild()
        self.pick_for = self._pick

    def _pick(self, context: PickContext | None, attempt: int = 0) -> Host | None:
        options = self.config.original_dst
        if context is None or options is None:
            return None
        address = self._address(context, options)
        if address is None:
            return None
        self._used.add(address)
        host = self._by_address.get(address)
        return self._add(address) if host is None else host

    def _address(self, context: PickContext, options: OriginalDst) -> SocketAddress | None:
        address = self._asked_for(context, options)
        if address is None:
            info = context.info
            if info.local == info.direct_local:
                return None  # nobody redirected it: it would come back to us
            address = SocketAddress(*info.local)
        return SocketAddress(address.host, options.port or address.port)

    def _asked_for(self, context: PickContext, options: OriginalDst) -> SocketAddress | None:
        """What a header or the metadata of the request says; a bad value is counted."""
        text = ""
        if options.header and context.request is not None:
            text = (context.request.headers.get(options.header) or b"").decode("latin-1")
        if not text and options.metadata_key is not None:
            found = _dug(context.metadata, *options.metadata_key)
            text = found if isinstance(found, str) else ""
        if not text:
            return None
        address = parse_address(text)
        if address is None:
            self.stats.add("original_dst_host_invalid")
        return address

    def _add(self, address: SocketAddress) -> Host:
        host = self._by_address[address] = Host(address)
        host.describe(Endpoint(address), _NOWHERE, 0)
        host.since = monotonic()
        self._changed()
        host.tls = self.tls_of(host)
        return host

    def _changed(self) -> None:
        self.hosts = list(self._by_address.values())
        self.stats.membership_change.value += 1
        if self.outlier is not None:
            self.outlier.watch(self.hosts)
        self.rebuild()

    def sweep(self, now: float) -> None:
        super().sweep(now)
        if now - self._cleaned_at < self.config.cleanup_interval_s:
            return
        self._cleaned_at = now
        idle = [
            address
            for address, host in self._by_address.items()
            if address not in self._used and not host.active
        ]
        self._used.clear()
        for address in idle:
            self.remove(self._by_address.pop(address))
        if idle:
            self._changed()


def parse_address(text: str) -> SocketAddress | None:
    """`1.2.3.4:80` or `[::1]:80`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    try:
        return SocketAddress(str(ipaddress.ip_address(host)), int(port))
    except ValueError:
        return None


def _dug(metadata: Mapping[str, Any], namespace: str, path: tuple[str, ...]) -> Any:
    found: Any = metadata.get(namespace)
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found
