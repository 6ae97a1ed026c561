"""Clusters of a snapshot into running ones: made, changed in place, or closed.

TLS material is part of it: a cluster whose certificates were rotated gets new contexts, and its
connections made with the old ones retire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from proxy.compile.health import Watches
from proxy.config.model import Cluster as ClusterConfig
from proxy.config.model import ClusterLoadAssignment, Secret, UpstreamTls
from proxy.config.model.connecting import NO_SOCKETS, Sockets
from proxy.config.model.discovery import DnsCache as DnsCacheConfig
from proxy.config.model.discovery import DnsResolver
from proxy.config.snapshot import Snapshot
from proxy.stats import Stats
from proxy.tls.failure import TlsConfigError
from proxy.upstream.aggregate import AggregateCluster
from proxy.upstream.cluster import Cluster
from proxy.upstream.dns import DnsMembership
from proxy.upstream.dns_cache import DnsCache
from proxy.upstream.dynamic_forward import DynamicForwardCluster
from proxy.upstream.host import Host
from proxy.upstream.original_dst import OriginalDstCluster
from proxy.upstream.pool import Pool
from proxy.upstream.resolver import Resolvers
from proxy.upstream.way import ALPN, the_way

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls, Contexts

OpenConnection = Callable[[Pool], None]
TLS_METADATA = "envoy.transport_socket_match"
CLOSED_AT_ONCE = 50


_KINDS: Mapping[str, type[Cluster]] = {
    "ORIGINAL_DST": OriginalDstCluster,
    "AGGREGATE": AggregateCluster,
    "DYNAMIC_FORWARD_PROXY": DynamicForwardCluster,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where this proxy is: its zone, the cluster that it and its like form ('' for none), and how
    its connections are bound if a cluster does not say."""

    zone: tuple[str, str, str] | None = None
    local_cluster: str = ""
    sockets: Sockets = NO_SOCKETS


class Clusters:
    """`running` is what routes look clusters up in; it is changed in place."""

    def __init__(
        self,
        stats: Stats,
        random: Random,
        open_connection: OpenConnection,
        watches: Watches | None = None,
    ) -> None:
        self.running: dict[str, Cluster] = {}
        self._stats = stats
        self._random = random
        self._open = open_connection
        self._watches = watches
        # Who in DNS is asked, and what for: equal ones need not be put in force again.
        self._memberships: dict[str, tuple[DnsResolver | None, ClusterLoadAssignment]] = {}
        self._tls: dict[str, tuple[object, ...]] = {}
        self._dns: dict[str, DnsMembership] = {}
        self._resolvers = Resolvers()
        self._caches: dict[DnsCacheConfig, DnsCache] = {}
        self._contexts: Contexts = WeakValueDictionary()
        self._fresh: set[str] = set()
        self.placement = Placement()

    def apply(self, snapshot: Snapshot) -> dict[str, str]:
        """Answers why a cluster could not be put in force, by 'cluster NAME'; it is then as it was,
        but for its endpoints."""
        problems: dict[str, str] = {}
        for _ in self.steps(snapshot, problems):
            pass
        return problems

    def steps(self, snapshot: Snapshot, problems: dict[str, str]) -> Iterator[None]:
        """`apply` cluster by cluster, so that requests can be served in between."""
        by_source = any(one.original_src for one in snapshot.listeners.values())
        for name, config in snapshot.clusters.items():
            try:
                self._apply(name, config, snapshot)
                self.running[name].tell_sources_apart(by_source)
            except (TlsConfigError, OSError) as error:
                problems[f"cluster {name}"] = f"cluster {name}: {error}"
            yield
        gone = [name for name in self.running if name not in snapshot.clusters]
        for at in range(0, len(gone), CLOSED_AT_ONCE):
            prefixes = [self._close(name).prefix for name in gone[at : at + CLOSED_AT_ONCE]]
            self._stats.forget(prefixes, {cluster.prefix for cluster in self.running.values()})
            yield
        self._forget_dns()

    def close(self) -> None:
        for name in list(self.running):
            self._close(name)
        self._forget_dns()

    def warming(self) -> bool:
        """Of a cluster that is new or was changed, a name is asked for the first time, or a host
        checked (Envoy's warming)."""
        self._fresh = {name for name in self._fresh if self._is_warming(name)}
        return bool(self._fresh)

    def _is_warming(self, name: str) -> bool:
        cluster, dns = self.running.get(name), self._dns.get(name)
        if cluster is None or not cluster.config.wait_for_warm_on_init:
            return False
        if dns is not None and not dns.warm:
            return True
        return self._watches is not None and self._watches.waits(name)

    def sweep(self, now: float) -> None:
        for cluster in self.running.values():
            cluster.sweep(now)

    def _apply(self, name: str, config: ClusterConfig, snapshot: Snapshot) -> None:
        try:
            self._configure(name, config, snapshot)
        finally:  # hosts that have moved are gone, whatever is wrong with the rest
            assignment = snapshot.assignments.get(name) or config.load_assignment
            cluster = self.running.get(name)
            if cluster is not None and assignment is not None:
                membership = (_resolver_of(cluster), assignment)
                if membership != self._memberships.get(name):
                    self._memberships[name] = membership
                    self._assign(cluster, assignment)

    def _configure(self, name: str, config: ClusterConfig, snapshot: Snapshot) -> None:
        material = tls_material(config, snapshot.secrets)
        cluster = self.running.get(name)
        if cluster is not None and not _may_become(cluster, config):
            self._close(name)
            cluster = None
        renewed = material != self._tls.get(name)
        if cluster is None or config != cluster.config:
            self._fresh.add(name)
        if cluster is None:
            tls_for = tls_chooser(config, snapshot.secrets, self._contexts)
            cluster = self._make(config, tls_for)
            self.running[name] = cluster
        elif material != self._tls[name]:
            cluster.configure(config, tls_chooser(config, snapshot.secrets, self._contexts))
            cluster.retire_connections()
        elif config != cluster.config:
            cluster.configure(config)
        self._tls[name] = material
        if renewed:
            _tell_ends(cluster, snapshot.secrets)
        if self._watches is not None:
            check = config.health_check
            labels = check.socket_match if check is not None else None
            check_tls: Callable[[Host], object] = cluster.tls_of
            if labels is not None:
                check_tls = tls_chooser(config, snapshot.secrets, self._contexts, labels)
            self._watches.apply(cluster, check_tls, renewed)

    def _make(self, config: ClusterConfig, tls_for: Callable[[Host], object]) -> Cluster:
        cluster = self._made(config, tls_for)
        cluster.default_sockets = self.placement.sockets
        cluster.choosing.fill_later_by(cluster.rebuild)
        cluster.choosing.local_zone = self.placement.zone
        if config.name == self.placement.local_cluster:
            cluster.on_rebuilt = self._place_all
        else:
            self._place(cluster)
        return cluster

    def _place_all(self) -> None:
        """The cluster of the proxies themselves has changed: all others look anew at zones."""
        for name, cluster in self.running.items():
            if name != self.placement.local_cluster:
                self._place(cluster)
                cluster.rebuild()

    def _place(self, cluster: Cluster) -> None:
        local = self.running.get(self.placement.local_cluster)
        cluster.choosing.local = local.choosing.sets[0] if local is not None else None

    def _made(self, config: ClusterConfig, tls_for: Callable[[Host], object]) -> Cluster:
        common = (config, self._stats, self._random, self._open, tls_for)
        if config.type == "ORIGINAL_DST":
            return OriginalDstCluster(*common)
        if config.type == "AGGREGATE":
            return AggregateCluster(*common, self.running)
        if config.dns_cache is not None:
            return DynamicForwardCluster(*common, self._cache(config.dns_cache))
        return Cluster(*common)

    def _cache(self, config: DnsCacheConfig) -> DnsCache:
        """Clusters share a cache by its name, under which all say the same."""
        found = self._caches.get(config)
        if found is None:
            resolver = self._resolvers.get(config.dns.resolver)
            found = self._caches[config] = DnsCache(config, resolver, self._stats, self._random)
        return found

    def _forget_dns(self) -> None:
        """Caches and resolvers that no cluster uses any more."""
        caches = {cluster.config.dns_cache for cluster in self.running.values()}
        for config in [config for config in self._caches if config not in caches]:
            self._caches.pop(config).close()
        resolvers = {_resolver_of(cluster) for cluster in self.running.values()}
        resolvers |= {config.dns.resolver for config in self._caches}
        self._resolvers.keep(resolvers)

    def _assign(self, cluster: Cluster, assignment: ClusterLoadAssignment) -> None:
        name = cluster.name
        resolving = self._dns.pop(name, None)
        if resolving is not None:
            resolving.stop()
        resolver = _resolver_of(cluster)
        if resolver is not None:
            asked = self._resolvers.get(resolver)
            self._dns[name] = DnsMembership(cluster, assignment, asked)
        else:
            cluster.set_endpoints(assignment)
            if assignment.stale:
                cluster.stats.add("assignment_stale")
            elif cluster.config.type == "EDS":
                cluster.stats.add("update_success")

    def _close(self, name: str) -> Cluster:
        resolving = self._dns.pop(name, None)
        if resolving is not None:
            resolving.stop()
        cluster = self.running.pop(name)
        cluster.close()
        if self._watches is not None:
            self._watches.close(name)
        self._memberships.pop(name, None)
        self._tls.pop(name, None)
        return cluster


def _tell_ends(cluster: Cluster, secrets: Mapping[str, Secret]) -> None:
    config = cluster.config
    for tls in (config.tls, *(one.tls for one in config.tls_matches)):
        if tls is not None:
            from proxy.tls.expiry import tell  # as for contexts

            tell(cluster.all_stats, cluster.prefix, tls.common, secrets)


def _resolver_of(cluster: Cluster) -> DnsResolver | None:
    """Who is asked for the cluster's hosts; None where they do not come from DNS."""
    config = cluster.config
    return config.dns.resolver if config.type in ("STRICT_DNS", "LOGICAL_DNS") else None


def _may_become(cluster: Cluster, config: ClusterConfig) -> bool:
    same_kind = type(cluster) is _KINDS.get(config.type, Cluster)
    return same_kind and cluster.config.dns_cache == config.dns_cache


def tls_material(config: ClusterConfig, secrets: Mapping[str, Secret]) -> tuple[object, ...]:
    """What a cluster's contexts are made of; equal material needs no new ones."""
    contexts = [config.tls, *(one.tls for one in config.tls_matches)]
    used = [(tls, *_secrets_of(tls, secrets)) for tls in contexts if tls is not None]
    return (*used, *(dict(one.match) for one in config.tls_matches))


def _secrets_of(tls: UpstreamTls, secrets: Mapping[str, Secret]) -> list[Secret | None]:
    references = (tls.common.certificate_sds, tls.common.validation_sds)
    return [secrets.get(reference.name) for reference in references if reference is not None]


def tls_chooser(
    config: ClusterConfig,
    secrets: Mapping[str, Secret],
    made: Contexts,
    criteria: Mapping[str, object] | None = None,
) -> Callable[[Host], ClientTls | None]:
    """`transport_socket_matches`: the first whose labels the endpoint has, else the cluster's.
    criteria: those of a health check, which stand for the endpoint's."""
    alpn = ALPN[the_way(config.http).version]

    def context(tls: UpstreamTls | None) -> ClientTls | None:
        if tls is None:
            return None
        from proxy.tls.contexts import client_context  # a plaintext proxy has no use for it

        return client_context(tls, secrets, made, alpn)

    default = context(config.tls)
    matches = [(dict(one.match), context(one.tls)) for one in config.tls_matches]
    if not matches:
        return lambda _: default

    def choose(host: Host) -> ClientTls | None:
        labels = host.metadata.get(TLS_METADATA, {}) if criteria is None else criteria
        for wanted, tls in matches:
            if all(labels.get(key) == value for key, value in wanted.items()):
                return tls
        return default

    return choose
