"""The settings of DestinationRules, level over level -> TrafficPolicies of the mesh.

Istio's MergeTrafficPolicy: a subset takes the service's settings and replaces, whole, each of load
balancer, connection pool, outlier detection and tls that it sets itself. A port-level setting
inherits none of these four.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TypeVar

from controlplane.kinds import connection_pool, load_balancer
from controlplane.kinds import destination_rule as kinds
from controlplane.kinds.load_balancer import LoadBalancer
from controlplane.mesh.model import (
    ClientTls,
    ConnectionPool,
    ConsistentHash,
    Cookie,
    Localities,
    OutlierDetection,
    RetryBudget,
    Subset,
    TrafficPolicy,
    Warmup,
)
from controlplane.mesh.traffic_policy import Algorithm, Tunnel
from controlplane.translate.mesh_defaults import NO_DEFAULTS, Defaults, keepalive, places_of
from protos.frozen import frozen, replace

_PLAIN = ClientTls("DISABLE")
"""What is spoken where nobody says anything and nothing is automatic."""


@frozen
class Settings:
    """The parts that override each other whole; None: not set at any level. namespace: of the
    rule that says how to speak TLS."""

    load_balancer: load_balancer.LoadBalancer | None = None
    pool: connection_pool.ConnectionPool | None = None
    outlier: connection_pool.OutlierDetection | None = None
    tls: kinds.ClientTls | None = None
    namespace: str = ""
    proxy_protocol: kinds.ProxyProtocol | None = None
    retry_budget: connection_pool.RetryBudget | None = None
    defaults: Defaults = NO_DEFAULTS
    tunnel: kinds.TunnelSettings | None = None

    def over(self, item: kinds.TrafficPolicy | None, namespace: str) -> Settings:
        """These, with what `item`, of a rule of `namespace`, sets in their place."""
        if item is None:
            return self
        return Settings(
            item.load_balancer or self.load_balancer,
            item.connection_pool or self.pool,
            item.outlier_detection or self.outlier,
            item.tls or self.tls,
            namespace if item.tls else self.namespace,
            item.proxy_protocol or self.proxy_protocol,
            item.retry_budget or self.retry_budget,
            self.defaults,
            item.tunnel,
        )

    def at_port(self, item: kinds.PortPolicy, namespace: str) -> Settings:
        """What `item` sets and nothing else of the four."""
        return replace(
            self,
            load_balancer=item.load_balancer,
            pool=item.connection_pool,
            outlier=item.outlier_detection,
            tls=item.tls,
            namespace=namespace,
        )

    def policy(self) -> TrafficPolicy:
        lb, defaults = self.load_balancer or load_balancer.LoadBalancer(), self.defaults
        return TrafficPolicy(
            load_balancer=_algorithm(lb),
            pool=self._bounded(),
            outlier=self._watched(),
            tls=self._secured() or (None if defaults.auto_mtls else _PLAIN),
            hash=_hash(lb.consistent_hash),
            warmup=_warmup(lb),
            localities=self._places(lb),
            proxy_protocol=self.proxy_protocol.version if self.proxy_protocol else "",
            tunnel=_tunnel(self.tunnel),
        )

    def _secured(self) -> ClientTls | None:
        """Mutual TLS of the mesh is bounded by who is the server."""
        made = _tls(self.tls, self.namespace)
        if made is None or made.mode not in ("SIMPLE", "MUTUAL"):
            return made
        return replace(made, limits=self.defaults.tls)

    def _watched(self) -> OutlierDetection | None:
        made, of_mesh = _outlier(self.outlier), self.defaults.policy
        default = _outlier(of_mesh.outlier_detection) if of_mesh is not None else None
        return (
            _filled(made, default) if made is not None and default is not None else made or default
        )

    def _bounded(self) -> ConnectionPool:
        pool, defaults = _pool(self.pool, self.retry_budget), self.defaults
        if defaults.policy is not None:
            pool = _filled(pool, _pool(defaults.policy.connection_pool, None))
        timeout_s, http2 = pool.connect_timeout_s, pool.http2
        if http2 is None and defaults.http2 and not pool.as_client:
            http2 = True
        return replace(
            pool,
            connect_timeout_s=defaults.connect_timeout_s if timeout_s is None else timeout_s,
            keepalive=pool.keepalive or defaults.keepalive,
            http2=http2,
        )

    def _places(self, item: LoadBalancer) -> Localities:
        """What a rule says stands in place of what the mesh says; that it wants nothing, too."""
        own = places_of(item.locality_lb_setting, item.zone_aware_lb_setting)
        return own or self.defaults.localities or Localities()


T = TypeVar("T", ConnectionPool, OutlierDetection)


def _filled(made: T, default: T) -> T:
    """With the default's values where nothing is said."""
    values = {one.name: getattr(default, one.name) for one in fields(made)}
    unset: tuple[object, ...] = (None,)
    if isinstance(made, OutlierDetection):
        unset = (None, False, ())
    return replace(made, **{k: v for k, v in values.items() if getattr(made, k) in unset})


def port_items(policy: kinds.TrafficPolicy | None) -> tuple[kinds.PortPolicy, ...]:
    return policy.port_level_settings if policy is not None else ()


def ports_of(
    settings: Settings, policy: kinds.TrafficPolicy | None, namespace: str
) -> dict[int, Settings]:
    """Port number -> the settings there."""
    items = sorted(port_items(policy), key=lambda item: item.port.number)
    return {item.port.number: settings.at_port(item, namespace) for item in items}


def subset_of(
    subset: kinds.Subset, namespace: str, above: Settings, ports: Mapping[int, Settings]
) -> Subset:
    """Per port: the service's level, then the subset, then the subset's port. A tunnel is of its
    own level only (Istio)."""
    own = subset.traffic_policy
    settings = replace(above, tunnel=None).over(own, namespace)
    at_ports = {number: replace(item, tunnel=None) for number, item in ports.items()}
    merged = {number: item.over(own, namespace) for number, item in at_ports.items()}
    merged |= ports_of(settings, own, namespace)
    return Subset(
        name=subset.name,
        labels=subset.labels,
        policy=settings.policy(),
        port_policies={number: merged[number].policy() for number in sorted(merged)},
        position=subset.position,
    )


# --------------------------------------------------------------------------- load balancing


def _tunnel(item: kinds.TunnelSettings | None) -> Tunnel | None:
    if item is None:
        return None
    return Tunnel(item.target_host, item.target_port, item.protocol == "POST")


def _algorithm(item: load_balancer.LoadBalancer) -> Algorithm:
    """Istio's default, also for UNSPECIFIED and the old LEAST_CONN, is LEAST_REQUEST."""
    if item.simple == "UNSPECIFIED" or item.simple == "LEAST_CONN":
        return "LEAST_REQUEST"
    return item.simple


def _hash(item: load_balancer.ConsistentHash | None) -> ConsistentHash | None:
    if item is None:
        return None
    ring = item.ring_hash.minimum_ring_size if item.ring_hash else item.minimum_ring_size
    return ConsistentHash(
        header=item.http_header_name,
        cookie=_cookie(item.http_cookie),
        source_ip=item.use_source_ip,
        query=item.http_query_parameter_name,
        algorithm="MAGLEV" if item.maglev is not None else "RING_HASH",
        size=item.maglev.table_size if item.maglev is not None else ring or None,
    )


def _cookie(item: load_balancer.HttpCookie | None) -> Cookie | None:
    if item is None:
        return None
    attributes = tuple((attribute.name, attribute.value) for attribute in item.attributes)
    return Cookie(item.name, item.path, item.ttl_s, attributes)


def _warmup(item: load_balancer.LoadBalancer) -> Warmup | None:
    if item.warmup is not None:
        warmup = item.warmup
        return Warmup(warmup.duration_s, warmup.minimum_percent, warmup.aggression)
    older_s = item.warmup_duration_secs_s
    return Warmup(older_s) if older_s is not None else None


# --------------------------------------------------------------------------- limits


def pool_of(item: connection_pool.ConnectionPool | None) -> ConnectionPool | None:
    """Settings by themselves, without a rule around them."""
    return _pool(item, None) if item is not None else None


def _pool(
    item: connection_pool.ConnectionPool | None, budget: connection_pool.RetryBudget | None
) -> ConnectionPool:
    tcp = item.tcp if item is not None else connection_pool.TcpSettings()
    http = item.http if item is not None else connection_pool.HttpSettings()
    ping = http.http2_keep_alive or connection_pool.Http2KeepAlive()
    return ConnectionPool(
        max_connections=tcp.max_connections,
        connect_timeout_s=tcp.connect_timeout_s,
        max_pending_requests=http.max_pending_requests,
        max_requests=http.max_requests,
        max_requests_per_connection=http.max_requests_per_connection,
        max_retries=http.max_retries,
        idle_timeout_s=tcp.idle_timeout_s if http.idle_timeout_s is None else http.idle_timeout_s,
        max_connection_duration_s=tcp.max_connection_duration_s,
        keepalive=keepalive(tcp.tcp_keepalive),
        http2={"DEFAULT": None, "DO_NOT_UPGRADE": False, "UPGRADE": True}[http.h2_upgrade_policy],
        as_client=http.use_client_protocol,
        max_concurrent_streams=http.max_concurrent_streams,
        ping_interval_s=ping.interval_s,
        ping_timeout_s=ping.timeout_s,
        retry_budget=_budget(budget),
    )


def _budget(item: connection_pool.RetryBudget | None) -> RetryBudget | None:
    return RetryBudget(item.percent, item.min_retry_concurrency) if item is not None else None


def _outlier(item: connection_pool.OutlierDetection | None) -> OutlierDetection | None:
    if item is None:
        return None
    return OutlierDetection(
        consecutive_5xx=item.consecutive_5xx,
        consecutive_gateway_errors=item.consecutive_gateway_errors,
        interval_s=item.interval_s,
        base_ejection_time_s=item.base_ejection_time_s,
        max_ejection_percent=item.max_ejection_percent,
        min_health_percent=item.min_health_percent,
        split_local_origin=item.split_external_local_origin_errors,
        consecutive_local_origin_failures=item.consecutive_local_origin_failures,
        error_codes=tuple(sorted(set(item.http_error_codes))),
    )


def _tls(item: kinds.ClientTls | None, namespace: str) -> ClientTls | None:
    if item is None:
        return None
    return ClientTls(
        item.mode,
        item.sni,
        item.subject_alt_names,
        roots="" if item.ca_certificates == kinds.SYSTEM_ROOTS else item.ca_certificates,
        crl=item.ca_crl,
        certificate=item.client_certificate,
        private_key=item.private_key,
        credential=(namespace, item.credential_name) if item.credential_name else None,
        verifies=not item.insecure_skip_verify,
    )
