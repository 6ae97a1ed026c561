"""What holds in the whole mesh where a rule says nothing: the MeshConfig's defaults."""

from __future__ import annotations

from typing import Literal

from controlplane.kinds import connection_pool
from controlplane.kinds.load_balancer import LocalitySetting, ZoneAwareSetting
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.kinds.mesh_defaults import DefaultTrafficPolicy
from controlplane.kinds.mesh_tls import TlsConfig
from controlplane.mesh.model import ClusterSettings, Localities, Retry, TcpKeepalive
from controlplane.mesh.networks import LABEL as NETWORK
from controlplane.mesh.tls_limits import NO_LIMITS, TlsLimits
from controlplane.translate.http_actions import retry
from protos.frozen import frozen


@frozen
class IngressSettings:
    """Which Ingresses are ours: none (OFF), those of our classes alone (STRICT), or those without
    a class, too (DEFAULT); UNSPECIFIED asks IngressClasses for the default one. own_class: a class
    of ours in place of Istio's. selector: the value of the label `istio` of their proxies. service:
    of the root namespace, whose addresses are theirs; '' for whatever is before the proxies."""

    mode: Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"] = "UNSPECIFIED"
    own_class: str = "istio"
    selector: str = "ingressgateway"
    service: str = ""


_ITS_OWN = ClusterSettings()


@frozen
class Defaults:
    """None: the proxy's own. localities None: by nearness alone. exports: as in `exportTo`. tls: of
    all but mutual TLS between workloads."""

    connect_timeout_s: float | None = None
    keepalive: TcpKeepalive | None = None
    http2: bool = False
    localities: Localities | None = None
    auto_mtls: bool = True
    retry: Retry | None = None
    ingress: IngressSettings = IngressSettings()
    clusters: ClusterSettings = _ITS_OWN
    policy: DefaultTrafficPolicy | None = None
    tls: TlsLimits = NO_LIMITS
    services: tuple[str, ...] = ()
    virtual_services: tuple[str, ...] = ()
    destination_rules: tuple[str, ...] = ()


NO_DEFAULTS = Defaults()


def of(settings: tuple[MeshConfigMap, ...]) -> Defaults:
    if not settings:
        return NO_DEFAULTS
    config = settings[0].data.mesh
    return Defaults(
        connect_timeout_s=config.connect_timeout_s,
        keepalive=keepalive(config.tcp_keepalive),
        http2=config.h2_upgrade_policy == "UPGRADE",
        localities=places_of(config.locality_lb_setting, config.zone_aware_lb_setting),
        auto_mtls=config.enable_auto_mtls,
        retry=retry(config.default_http_retry_policy),
        ingress=IngressSettings(
            config.ingress_controller_mode,
            config.ingress_class or "istio",
            config.ingress_selector or "ingressgateway",
            config.ingress_service,
        ),
        clusters=ClusterSettings(
            config.outbound_cluster_stat_name,
            config.dns_refresh_rate_s,
            config.default_config.proxy_headers.preserve_http1_header_case,
        ),
        policy=config.default_traffic_policy,
        tls=tls_limits(config.tls_defaults),
        services=config.default_service_export_to,
        virtual_services=config.default_virtual_service_export_to,
        destination_rules=config.default_destination_rule_export_to,
    )


def tls_limits(item: TlsConfig) -> TlsLimits:
    return TlsLimits(item.min_protocol_version == "TLSV1_3", item.cipher_suites, item.ecdh_curves)


def places_of(plain: LocalitySetting | None, zones: ZoneAwareSetting | None) -> Localities | None:
    """Of which at most one is set. None: nothing is said."""
    if zones is not None and zones.enabled is False:
        return Localities(zone_aware=False)
    if zones is not None:
        return Localities(
            failover=tuple((one.from_, one.to) for one in zones.failover),
            priority=zones.failover_priority,
            zone_aware=True,
            min_cluster_size=zones.min_cluster_size,
        )
    return localities(plain) if plain is not None else None


SAME_ZONE = Localities(
    priority=(NETWORK, "topology.kubernetes.io/region", "topology.kubernetes.io/zone"), always=True
)
"""Istio's meaning of a Service's `trafficDistribution: PreferSameZone`."""


def localities(item: LocalitySetting) -> Localities:
    return Localities(
        distribute=tuple((one.from_, tuple(one.to.items())) for one in item.distribute),
        failover=tuple((one.from_, one.to) for one in item.failover),
        priority=item.failover_priority,
        enabled=item.enabled is not False,
    )


def keepalive(item: connection_pool.TcpKeepalive | None) -> TcpKeepalive | None:
    return TcpKeepalive(item.probes, item.time_s, item.interval_s) if item is not None else None
