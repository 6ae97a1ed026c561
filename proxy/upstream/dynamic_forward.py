"""A dynamic forward proxy's cluster: the host is the name that the request asks for.

The filter of the same name has seen to it that the name is resolved; without the filter nobody has.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import monotonic

from proxy.config.model import Cluster as ClusterConfig
from proxy.config.model import Endpoint, SocketAddress
from proxy.stats import Stats
from proxy.upstream.balance import PickContext
from proxy.upstream.cluster import Cluster
from proxy.upstream.dns_cache import DnsCache, Done, Loaded, split_authority
from proxy.upstream.host import Host
from proxy.upstream.pool import Pool

_NOWHERE = ("", "", "")


class DynamicForwardCluster(Cluster):
    def __init__(
        self,
        config: ClusterConfig,
        stats: Stats,
        random: Random,
        open_connection: Callable[[Pool], None],
        tls_for: Callable[[Host], object],
        cache: DnsCache,
    ) -> None:
        self.cache = cache
        self._by_name: dict[str, Host] = {}
        cache.watchers.append(self._on_change)
        super().__init__(config, stats, random, open_connection, tls_for)

    def rebuild(self) -> None:
        super().rebuild()
        self.pick_for = self._pick

    def load(self, authority: bytes, done: Done) -> Loaded:
        """For the filter: see `DnsCache.load`."""
        name, port = self.target(authority)
        return self.cache.load(name, port, done)

    def forget(self, authority: bytes, done: Done) -> None:
        name, port = self.target(authority)
        self.cache.forget(name, port, done)

    def resolved(self, authority: bytes) -> bool:
        return bool(self.cache.get(*self.target(authority)))

    def target(self, authority: bytes) -> tuple[str, int]:
        return split_authority(authority, 443 if self.config.tls is not None else 80)

    def _pick(self, context: PickContext | None, attempt: int = 0) -> Host | None:
        if context is None or context.request is None:
            return None
        name, port = self.target(context.request.authority)
        addresses = self.cache.get(name, port)
        if not addresses:
            return None
        return self._by_name.get(f"{name}:{port}") or self._add(name, port, addresses)

    def _add(self, name: str, port: int, addresses: tuple[SocketAddress, ...]) -> Host:
        host = self._by_name[f"{name}:{port}"] = Host(addresses[0])
        host.describe(Endpoint(addresses[0], hostname=name), _NOWHERE, 0)
        host.since = monotonic()
        host.move(addresses)
        self._changed()
        host.tls = self.tls_of(host)
        return host

    def _on_change(self, name: str) -> None:
        host = self._by_name.get(name)
        if host is None:
            return
        text, _, port = name.rpartition(":")
        addresses = self.cache.get(text, int(port))
        if addresses:
            host.move(addresses)
        else:
            self.remove(self._by_name.pop(name))
            self._changed()

    def _changed(self) -> None:
        self.hosts = list(self._by_name.values())
        self.stats.membership_change.value += 1
        if self.outlier is not None:
            self.outlier.watch(self.hosts)
        self.rebuild()

    def close(self) -> None:
        super().close()
        self.cache.watchers.remove(self._on_change)
