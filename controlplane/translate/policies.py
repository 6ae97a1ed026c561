"""DestinationRules -> policies and subsets of services, chosen and merged by Istio's rules.

Which rules hold for a client: those of its own namespace, else those of the service's that are
exported to it, else those of the root namespace. Among them the ones with the most specific host;
of several for one host the oldest one's policy, and the subsets of all. A rule with a
workloadSelector is for those clients of its namespace, alone, and comes before all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import is_
from typing import NamedTuple

from controlplane.kinds import destination_rule as kinds
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.export_to import namespaces_of
from controlplane.mesh.model import ClientPolicy, Service
from controlplane.mesh.scopes import Scope
from controlplane.translate.credentials import Credentials, Need
from controlplane.translate.groups import Groups
from controlplane.translate.index import Hosts, hostname_of, key_of
from controlplane.translate.memo import Each
from controlplane.translate.mesh_defaults import NO_DEFAULTS, SAME_ZONE, Defaults
from controlplane.translate.peers import ROOT_NAMESPACE
from controlplane.translate.report import Report
from controlplane.translate.traffic_policy import Settings, port_items, ports_of, subset_of
from protos.frozen import replace

_EXACT = 10**6
Ranked = tuple[int, DestinationRule]
"""How specific its host is, and the rule."""


class _Found(NamedTuple):
    """A rule, how specific its host is, and the host names of the services that it is for."""

    specificity: int
    rule: DestinationRule
    hostnames: tuple[str, ...]


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
    rules: tuple[DestinationRule, ...],
    hosts: Hosts,
    credentials: Credentials,
    defaults: Defaults,
    report: Report,
) -> tuple[Service, ...]:
    """The services with their policies, port policies and subsets. rules: the oldest first."""
    find = partial(_found, hosts, credentials, report)
    found = each("rules", key_of, find, (rules,))
    of = each.grown("by host", _by_host, found)
    ranked = [of.of(service.hostname) for service in services]
    return each("services", hostname_of, _made, (services, ranked), (defaults, report))


def _by_host(last: Groups[str, _Found] | None, found: tuple[_Found, ...]) -> Groups[str, _Found]:
    return (last or Groups()).following(found, lambda one: one.hostnames)


def _found(hosts: Hosts, credentials: Credentials, report: Report, rule: DestinationRule) -> _Found:
    hostname = hosts.full_name(rule.spec.host, rule.namespace)
    targets = hosts.matching(hostname)
    if not targets:
        message = f"spec.host: no service named {hostname!r}"
        report.warning(rule, rule.spec.at("host"), "SelectsNothing", message)
    _tell_unknown_ports(rule, targets, report)
    _tell_credentials(rule, credentials, report)
    _tell_failover(rule, report)
    _tell_idle(rule, report)
    _tell_tunnel(rule, report)
    _tell_foreign(rule, targets, report)
    specificity = len(hostname) if hostname.startswith("*") else _EXACT
    return _Found(specificity, rule, tuple(service.hostname for service in targets))


def _tell_tunnel(rule: DestinationRule, report: Report) -> None:
    policies = (rule.spec.traffic_policy, *(one.traffic_policy for one in rule.spec.subsets))
    for policy in policies:
        if policy is not None and policy.tunnel is not None:
            message = (
                "tunnel: holds for connections (TCP, TLS) at gateways and in sidecars that "
                "intercept them, not for those by the outbound HTTP proxy"
            )
            report.info(rule, policy.at("tunnel"), "NoEffect", message)


def _tell_foreign(rule: DestinationRule, services: tuple[Service, ...], report: Report) -> None:
    """A rule that is not beside its service, and yet looks as if it were for everybody."""
    if rule.namespace == ROOT_NAMESPACE or rule.spec.export_to == (".",):
        return
    for service in services:
        if service.namespace != rule.namespace and not rule.spec.host.startswith("*"):
            message = (
                f"spec.host: {service.hostname!r} belongs to the namespace {service.namespace!r}; "
                f"a rule from {rule.namespace!r} holds for the clients there only"
            )
            report.info(rule, rule.spec.at("host"), "OneNamespace", message)


# --------------------------------------------------------------------------- which rules


def _made(
    service: Service, found: tuple[_Found, ...], defaults: Defaults, report: Report
) -> Service:
    """found: the rules whose hosts name the service, oldest first."""
    ranked = [(one.specificity, one.rule) for one in found]
    if service.keeps_close:
        defaults = replace(defaults, localities=SAME_ZONE)
    if not ranked and defaults == NO_DEFAULTS:
        return service
    plain = [(rank, rule) for rank, rule in ranked if rule.spec.workload_selector is None]
    exports = defaults.destination_rules

    def counting_for(namespace: str) -> list[DestinationRule]:
        return _for_client(namespace, service, plain, exports)

    of_all = counting_for("")
    default = _with_policy(service, _merged(of_all, report), defaults)
    scoped = list(_selected(service, ranked, defaults, report))
    for namespace in sorted(_named(plain, exports)):
        chosen = counting_for(namespace)
        if _is_same(chosen, of_all):
            continue
        made = _with_policy(service, _merged(chosen, report), defaults)
        if _differs(made, default):
            scoped.append(_client_policy(Scope(namespace), made))
    return replace(default, for_clients=tuple(scoped)) if scoped else default


def _is_same(some: list[DestinationRule], others: list[DestinationRule]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def _selected(
    service: Service, ranked: Iterable[Ranked], defaults: Defaults, report: Report
) -> Iterator[ClientPolicy]:
    """The rules for some workloads of a namespace; of several that choose one the first counts."""
    for _, rule in ranked:
        if (selector := rule.spec.workload_selector) is not None:
            made = _with_policy(service, _merged([rule], report), defaults)
            yield _client_policy(Scope(rule.namespace, selector.match_labels), made)


def _for_client(
    namespace: str, service: Service, ranked: Iterable[Ranked], exports: tuple[str, ...]
) -> list[DestinationRule]:
    """Those that count together for clients of `namespace`; '' is one that no rule names."""
    ranked = list(ranked)
    levels = (
        [one for one in ranked if one[1].namespace == namespace != ROOT_NAMESPACE],
        [one for one in ranked if _reaches(one[1], service.namespace, namespace, exports)],
        [one for one in ranked if _reaches(one[1], ROOT_NAMESPACE, namespace, exports)],
    )
    level = next(filter(None, levels), [])
    best = max((rank for rank, _ in level), default=0)
    return [rule for rank, rule in level if rank == best]


def _reaches(rule: DestinationRule, home: str, client: str, exports: tuple[str, ...]) -> bool:
    """Is it a rule of `home` that clients of the namespace `client` may see? exports: to whom one
    is shown that doesn't say it."""
    exported = namespaces_of(rule.spec.export_to or exports, rule.namespace)
    return rule.namespace == home and (exported is None or client in exported)


def _named(ranked: Iterable[Ranked], exports: tuple[str, ...]) -> set[str]:
    """Namespaces whose clients may see other rules than everybody."""
    found: set[str] = set()
    for _, rule in ranked:
        exported = namespaces_of(rule.spec.export_to or exports, rule.namespace)
        found |= {rule.namespace, *(exported or ())}
    return found


def _differs(one: Service, other: Service) -> bool:
    return (one.policy, one.port_policies, one.subsets) != (
        other.policy,
        other.port_policies,
        other.subsets,
    )


def _client_policy(scope: Scope, made: Service) -> ClientPolicy:
    return ClientPolicy(scope, made.policy, made.port_policies, made.subsets)


# --------------------------------------------------------------------------- what they say


def _merged(rules: Iterable[DestinationRule], report: Report) -> _Merged:
    merged = _Merged()
    for rule in rules:
        _merge(merged, rule, report)
    return merged


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


def _with_policy(service: Service, merged: _Merged, defaults: Defaults) -> Service:
    namespace = merged.policy_of.namespace if merged.policy_of is not None else ""
    settings = Settings(defaults=defaults).over(merged.policy, namespace)
    ports = ports_of(settings, merged.policy, namespace)
    return replace(
        service,
        retry=defaults.retry,
        clusters=defaults.clusters,
        policy=settings.policy(),
        port_policies={number: item.policy() for number, item in ports.items()},
        subsets=tuple(
            subset_of(merged.subsets[name], merged.subset_of[name].namespace, settings, ports)
            for name in sorted(merged.subsets)
        ),
    )


# --------------------------------------------------------------------------- what is told


def _tell_unknown_ports(
    rule: DestinationRule, services: tuple[Service, ...], report: Report
) -> None:
    """A port-level setting for a port that none of the rule's services has."""
    policies = (rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets))
    known = {port.number for service in services for port in service.ports}
    for item in (item for policy in policies for item in port_items(policy)):
        if services and item.port.number not in known:
            message = f"portLevelSettings: {rule.spec.host!r} has no port {item.port.number}"
            report.warning(rule, item.position, "SelectsNothing", message)


def _tell_failover(rule: DestinationRule, report: Report) -> None:
    """Where nobody finds out that endpoints fail, nobody goes on to the next ones."""
    policies = (rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets))
    above = rule.spec.traffic_policy.outlier_detection if rule.spec.traffic_policy else None
    for policy in filter(None, policies):
        holders: tuple[kinds.TrafficPolicy | kinds.PortPolicy, ...]
        holders = (policy, *policy.port_level_settings)
        for holder in holders:
            settings = holder.load_balancer.locality_lb_setting if holder.load_balancer else None
            detected = holder.outlier_detection or (above if holder is policy else None)
            if settings is None or detected is not None or settings.enabled is False:
                continue
            if settings.failover or settings.failover_priority:
                message = "failover has no effect without outlierDetection beside it"
                report.warning(rule, settings.position, "NoEffect", message)


def _tell_idle(rule: DestinationRule, report: Report) -> None:
    """Settings that others beside them leave nothing to do."""
    policies = (rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets))
    for policy in filter(None, policies):
        for lb in (policy.load_balancer, *(p.load_balancer for p in policy.port_level_settings)):
            if lb is not None and lb.simple == "PASSTHROUGH":
                message = (
                    "PASSTHROUGH is for sidecars that intercept connections; to others the service "
                    "has the default, LEAST_REQUEST"
                )
                report.info(rule, lb.position, "NoEffect", message)
            if lb is None or (lb.warmup is None and lb.warmup_duration_secs_s is None):
                continue
            if lb.simple == "RANDOM" or lb.consistent_hash is not None:
                message = "warm-up has no effect with RANDOM or consistentHash"
                report.warning(rule, lb.position, "NoEffect", message)
        retries = policy.connection_pool and policy.connection_pool.http.max_retries
        if policy.retry_budget is not None and retries is not None:
            message = "http.maxRetries has no effect beside a retryBudget"
            report.warning(rule, policy.at("connectionPool"), "NoEffect", message)


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
