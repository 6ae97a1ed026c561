"""DestinationRules -> policies and subsets of services, merged by Istio's rules.

A subset takes the service's policy and replaces, whole, each of load balancer, connection pool,
outlier detection and tls that it sets itself. A port-level setting inherits nothing. Several
rules for one host: the oldest one's policy, and the subsets of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from controlplane.kinds import connection_pool
from controlplane.kinds import destination_rule as kinds
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.load_balancer import LoadBalancer
from controlplane.mesh.model import (
    ClientTls,
    ConnectionPool,
    OutlierDetection,
    Service,
    Subset,
    TrafficPolicy,
)
from controlplane.translate.credentials import Credentials, Need
from controlplane.translate.index import Hosts, age
from controlplane.translate.memo import Each
from controlplane.translate.peers import ROOT_NAMESPACE
from controlplane.translate.report import Report


@dataclass(slots=True)
class _Merged:
    """What the rules of one host say together."""

    policy: kinds.TrafficPolicy | None = None
    policy_of: DestinationRule | None = None
    subsets: dict[str, kinds.Subset] = field(default_factory=dict)
    subset_of: dict[str, DestinationRule] = field(default_factory=dict)


def apply(
    each: Each,
    services: tuple[Service, ...],
    rules: Iterable[DestinationRule],
    hosts: Hosts,
    credentials: Credentials,
    report: Report,
) -> tuple[Service, ...]:
    """The services with their policies, port policies and subsets."""
    find = partial(_found, hosts, credentials, report)
    of: dict[str, list[DestinationRule]] = {}
    for rule in sorted(rules, key=age):
        for hostname in each(rule.key, find, rule):
            of.setdefault(hostname, []).append(rule)
    make = partial(_made, report)
    return tuple(
        each(service.hostname, make, service, *of[service.hostname])
        if service.hostname in of
        else service
        for service in services
    )


def _found(
    hosts: Hosts, credentials: Credentials, report: Report, rule: DestinationRule
) -> tuple[str, ...]:
    """The host names of the services that a rule is for, and what is to be said about it."""
    hostname = hosts.full_name(rule.spec.host, rule.namespace)
    targets = tuple(_targets(rule, hostname, hosts, report))
    _tell_unknown_ports(rule, targets, report)
    _tell_credentials(rule, credentials, report)
    return tuple(service.hostname for service in targets)


def _made(report: Report, service: Service, *rules: DestinationRule) -> Service:
    merged = _Merged()
    for rule in rules:
        _merge(merged, rule, report)
    return _with_policy(service, merged)


def _targets(
    rule: DestinationRule, hostname: str, hosts: Hosts, report: Report
) -> Iterable[Service]:
    """The services that a rule is for. Istio takes it from the service's namespace, or the root."""
    found = hosts.matching(hostname)
    position = rule.spec.at("host")
    if not found:
        report.warning(
            rule, position, "SelectsNothing", f"spec.host: no service named {hostname!r}"
        )
    for service in found:
        if rule.namespace in (service.namespace, ROOT_NAMESPACE):
            yield service
        elif not hostname.startswith("*"):
            message = (
                f"spec.host: {hostname!r} belongs to the namespace {service.namespace!r}; a rule "
                f"from {rule.namespace!r} for its own clients only is not supported yet"
            )
            report.error(rule, position, "NotSupported", message)


def _tell_unknown_ports(
    rule: DestinationRule, services: tuple[Service, ...], report: Report
) -> None:
    """A port-level setting for a port that none of the rule's services has."""
    policies = (rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets))
    known = {port.number for service in services for port in service.ports}
    for item in (item for policy in policies for item in _port_items(policy)):
        if services and item.port.number not in known:
            message = f"portLevelSettings: {rule.spec.host!r} has no port {item.port.number}"
            report.warning(rule, item.position, "SelectsNothing", message)


def _tell_credentials(rule: DestinationRule, credentials: Credentials, report: Report) -> None:
    """Secrets that are named and do not serve: the service can't be reached by anybody."""
    for tls in _tls_settings(rule):
        if not tls.credential_name:
            continue
        needs: list[Need] = ["pair"] if tls.mode == "MUTUAL" else []
        needs += [] if tls.insecure_skip_verify else ["roots"]
        if reason := credentials.why_not(rule.namespace, tls.credential_name, *needs):
            message = f"credentialName: {reason}; requests are answered 503 until there is"
            report.error(rule, tls.at("credentialName"), "MissingCredential", message)
        else:
            message = (
                f"credentialName: only proxies of the namespace {rule.namespace!r} get the Secret "
                "and reach the service"
            )
            report.info(rule, tls.at("credentialName"), "OneNamespace", message)


def _tls_settings(rule: DestinationRule) -> Iterable[kinds.ClientTls]:
    for policy in (rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets)):
        if policy is not None:
            found = (policy.tls, *(item.tls for item in policy.port_level_settings))
            yield from (tls for tls in found if tls is not None)


def _merge(merged: _Merged, rule: DestinationRule, report: Report) -> None:
    spec = rule.spec
    if spec.traffic_policy is not None:
        if merged.policy_of is None:
            merged.policy, merged.policy_of = spec.traffic_policy, rule
        else:
            message = f"{merged.policy_of.key} sets the trafficPolicy of this host already"
            report.warning(rule, spec.at("trafficPolicy"), "Conflict", message)
    for index, subset in enumerate(spec.subsets):
        first = merged.subsets.setdefault(subset.name, subset)
        if first is subset:
            merged.subset_of[subset.name] = rule
        else:
            message = f"the subset {subset.name!r} is already defined at {first.position}"
            report.warning(rule, spec.at(f"subsets[{index}]"), "Conflict", message)


def _with_policy(service: Service, merged: _Merged) -> Service:
    namespace = merged.policy_of.namespace if merged.policy_of is not None else ""
    settings = _Settings().over(merged.policy, namespace)
    ports = {item.port.number: _Settings.of(item, namespace) for item in _port_items(merged.policy)}
    return replace(
        service,
        policy=settings.policy(),
        port_policies={number: ports[number].policy() for number in sorted(ports)},
        subsets=tuple(
            _subset(merged.subsets[name], merged.subset_of[name].namespace, settings, ports)
            for name in sorted(merged.subsets)
        ),
    )


def _port_items(policy: kinds.TrafficPolicy | None) -> tuple[kinds.PortPolicy, ...]:
    return policy.port_level_settings if policy is not None else ()


def _subset(
    subset: kinds.Subset, namespace: str, above: _Settings, ports: Mapping[int, _Settings]
) -> Subset:
    """Istio's MergeTrafficPolicy: per port, the service's level, then the subset, then its port."""
    own = subset.traffic_policy
    merged = {number: item.over(own, namespace) for number, item in ports.items()}
    merged |= {item.port.number: _Settings.of(item, namespace) for item in _port_items(own)}
    return Subset(
        name=subset.name,
        labels=subset.labels,
        policy=above.over(own, namespace).policy(),
        port_policies={number: merged[number].policy() for number in sorted(merged)},
        position=subset.position,
    )


@dataclass(frozen=True, slots=True)
class _Settings:
    """The four parts that override each other whole; None: not set at any level. namespace: of
    the rule that says how to speak TLS."""

    load_balancer: LoadBalancer | None = None
    pool: connection_pool.ConnectionPool | None = None
    outlier: connection_pool.OutlierDetection | None = None
    tls: kinds.ClientTls | None = None
    namespace: str = ""

    @classmethod
    def of(cls, item: kinds.TrafficPolicy | kinds.PortPolicy, namespace: str) -> _Settings:
        pool, outlier = item.connection_pool, item.outlier_detection
        return cls(item.load_balancer, pool, outlier, item.tls, namespace)

    def over(self, item: kinds.TrafficPolicy | None, namespace: str) -> _Settings:
        """These, with what `item`, of a rule of `namespace`, sets in their place."""
        if item is None:
            return self
        return _Settings(
            item.load_balancer or self.load_balancer,
            item.connection_pool or self.pool,
            item.outlier_detection or self.outlier,
            item.tls or self.tls,
            namespace if item.tls else self.namespace,
        )

    def policy(self) -> TrafficPolicy:
        return TrafficPolicy(
            load_balancer=_algorithm(self.load_balancer),
            pool=_pool(self.pool),
            outlier=_outlier(self.outlier),
            tls=_tls(self.tls, self.namespace),
        )


def _algorithm(
    item: LoadBalancer | None,
) -> Literal["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"]:
    """Istio's default, also for UNSPECIFIED and the old LEAST_CONN, is LEAST_REQUEST."""
    if item is None or item.simple in ("UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST"):
        return "LEAST_REQUEST"
    return "ROUND_ROBIN" if item.simple == "ROUND_ROBIN" else "RANDOM"


def _pool(item: connection_pool.ConnectionPool | None) -> ConnectionPool:
    if item is None:
        return ConnectionPool()
    tcp, http = item.tcp, item.http
    return ConnectionPool(
        max_connections=tcp.max_connections,
        connect_timeout_s=tcp.connect_timeout_s,
        max_pending_requests=http.max_pending_requests,
        max_requests=http.max_requests,
        max_requests_per_connection=http.max_requests_per_connection,
        max_retries=http.max_retries,
        idle_timeout_s=http.idle_timeout_s or tcp.idle_timeout_s,
    )


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
