"""The route configuration of the outbound HTTP proxy: a virtual host for each service port, with
the rules of HTTP ports and a tunnel to every TCP one.

A rule's destination that does not resolve becomes a route to a cluster that does not exist: the
proxy answers 503 with the response flag NC, and the mesh's status says which rule it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace

from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    Route,
    RouteAction,
    VirtualHost,
    WeightedCluster,
)
from envoy.config.route.v3.route_components_pb2 import RouteMatch as EnvoyMatch
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import dynamic, http_actions, names, tunnels
from controlplane.emit.clients import Caller
from controlplane.emit.matches import header_options, host_of, route_match
from controlplane.emit.retries import Variant, variants
from controlplane.emit.targets import Targets
from controlplane.emit.words import seconds
from controlplane.mesh.model import (
    Destination,
    HttpRule,
    RouteMatch,
    Service,
)
from protos.frozen import frozen

HTTP_PROTOCOLS = frozenset(("HTTP", "HTTP2", "GRPC"))
UNKNOWN_HOST_BODY = "No service of the mesh has this host name and port (BlackHoleCluster).\n"
INTERNAL_ERROR = 500
MAX_BODY_BYTES = 1024 * 1024
"""Of a direct response, as Istio has it; Envoy would take 4096."""


@frozen
class Routes:
    configuration: RouteConfiguration
    unresolved: frozenset[str] = field(default_factory=frozenset)


def http_proxy(services: tuple[Service, ...], client: Caller) -> Routes:
    """Every port of every service, then a 502 for any other host (Istio's block_all)."""
    domains = Domains(services, client.namespace)
    targets = Targets(services)
    hosts = [
        proxied(service, port, own, client, targets)
        for service in services
        for port in tcp_ports(service)
        if (own := domains.of(service, port))
    ]
    hosts.append(block_all())
    return Routes(configuration(names.HTTP_PROXY_ROUTES, hosts), targets.missing)


def configuration(name: str, hosts: Iterable[VirtualHost] = ()) -> RouteConfiguration:
    """Of any listener that rules of users are for."""
    made = RouteConfiguration(name=name, virtual_hosts=hosts)
    made.max_direct_response_body_size_bytes.value = MAX_BODY_BYTES
    return made


def virtual_host(
    service: Service, port: int, domains: list[str], node: Caller, targets: Targets
) -> VirtualHost:
    """One service port with its rules; `targets` notes clusters that do not exist."""
    return VirtualHost(
        name=names.virtual_host(service.hostname, port),
        domains=domains,
        routes=list(_routes(service, port, node, targets)),
        include_request_attempt_count=True,
    )


def proxied(
    service: Service, port: int, domains: list[str], node: Caller, targets: Targets
) -> VirtualHost:
    """One service port as the outbound HTTP proxy has it: its rules, and a tunnel."""
    is_http = port in http_ports(service)
    host = virtual_host(service, port, domains, node, targets) if is_http else None
    host = host or VirtualHost(name=names.virtual_host(service.hostname, port), domains=domains)
    action = RouteAction(timeout=seconds(0))
    if is_http:
        rules = ((m, r.destinations) for r in service.rules for m in r.matches or (RouteMatch(),))
        applying = ((match, found) for match, found in rules if applies(match, port, node))
        places = tunnels.destinations(service, applying)
    else:
        places = tunnels.of_streams(service, port, node.namespace, node.labels)
    _set_clusters(action, places, port, targets)
    tunnel = tunnels.route(action)
    dynamic.turn_on(tunnel, places)
    host.routes.append(tunnel)
    return host


def block_all() -> VirtualHost:
    answer = DirectResponseAction(status=502)
    answer.body.inline_string = UNKNOWN_HOST_BODY
    refused = tunnels.refusal(answer, names.BLOCK_ALL)
    route = Route(name=names.BLOCK_ALL, direct_response=answer)
    route.match.prefix = "/"
    return VirtualHost(name=names.BLOCK_ALL, domains=["*"], routes=[route, refused])


def http_ports(service: Service) -> list[int]:
    """Numbers of the ports that speak HTTP, in the service's order."""
    return [port.number for port in service.ports if port.protocol in HTTP_PROTOCOLS]


def tcp_ports(service: Service) -> list[int]:
    """Numbers of all ports that are reached over TCP."""
    return [port.number for port in service.ports if port.protocol != "UDP"]


class Domains:
    """Hands each domain to one virtual host only: Envoy refuses a configuration that has one
    twice. Full names go first, so that no alias can take another service's.

    namespace: of the clients, who call its services by shorter names."""

    def __init__(self, services: Iterable[Service], namespace: str) -> None:
        taken: dict[str, tuple[str, int]] = {}
        every = [(service, tuple(suffixes(service))) for service in services]
        for level in range(3):
            for service, own in every:
                for name in names_at(service, namespace, level):
                    host = as_host(name)
                    for port, suffix in own:
                        taken.setdefault(host + suffix, (service.hostname, port))
        self._of: dict[tuple[str, int], list[str]] = {}
        for domain, place in taken.items():
            self._of.setdefault(place, []).append(domain)

    def of(self, service: Service, port: int) -> list[str]:
        return sorted(self._of.get((service.hostname, port), ()))


def as_host(name: str) -> str:
    """As a request has it: in lower case, an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name else name.lower()


def suffixes(service: Service) -> Iterable[tuple[int, str]]:
    """(port, what stands behind a name): the name alone means port 80 or the only HTTP port."""
    http = http_ports(service)
    for port in tcp_ports(service):
        yield port, f":{port}"
        if port in http and (port == 80 or len(http) == 1):
            yield port, ""


def names_at(service: Service, namespace: str, level: int) -> tuple[str, ...]:
    if level == 0:
        return (service.hostname,)
    if level == 1:
        return service.local_aliases if service.namespace == namespace else ()
    return (*service.aliases, *(one for one in service.addresses if "/" not in one))


# --------------------------------------------------------------------------- rules


def _routes(service: Service, port: int, node: Caller, targets: Targets) -> Iterable[Route]:
    """What stands behind a route that takes everything is never asked."""
    for rule in rules_of(service, port):
        for route in rule_routes(rule, port, node, targets):
            yield route
            if route.match == _EVERYTHING:
                return


_EVERYTHING = EnvoyMatch(prefix="/")


def rules_of(service: Service, port: int) -> tuple[HttpRule, ...]:
    """Its own, or the one that sends everything to it."""
    rules = service.rules or (_default_rule(service, port),)
    if service.retry is None:
        return rules
    return tuple(replace(one, retry=service.retry) if one.retry is None else one for one in rules)


def _default_rule(service: Service, port: int) -> HttpRule:
    key = service.port_policies.get(port, service.policy).hash
    return HttpRule((), (Destination(service.hostname, hash=key),), name="default")


def rule_routes(rule: HttpRule, port: int, node: Caller, targets: Targets) -> Iterable[Route]:
    """The routes of one rule for requests that come for `port`."""
    for match in rule.matches or (RouteMatch(),):
        if applies(match, port, node):
            for variant in variants(match, rule.retry) if rule.destinations else _ONE:
                yield _route(rule, match, variant, port, targets)


_ONE = (Variant(False, None),)


def applies(match: RouteMatch, port: int, node: Caller) -> bool:
    """Source and port are known here: they are decided now and not per request."""
    return (
        match.port in (None, port)
        and match.source_namespace in ("", node.namespace)
        and match.source_labels.items() <= node.labels.items()
    )


def _route(
    rule: HttpRule, match: RouteMatch, variant: Variant, port: int, targets: Targets
) -> Route:
    route = Route(
        name=".".join(part for part in (rule.name, match.name) if part),
        match=route_match(match, variant.idempotent_only),
        request_headers_to_add=header_options(rule.headers.request),
        request_headers_to_remove=rule.headers.request.remove,
        response_headers_to_add=header_options(rule.headers.response),
        response_headers_to_remove=rule.headers.response.remove,
        typed_per_filter_config=http_actions.filter_configs(rule),
        stat_prefix=match.stat_prefix,
    )
    if rule.redirect is not None:
        route.redirect.CopyFrom(http_actions.redirect(rule.redirect, port))
    elif rule.direct_response is not None:
        route.direct_response.CopyFrom(http_actions.direct_response(rule.direct_response))
    else:
        route.route.CopyFrom(_action(rule, variant, port, targets))
        dynamic.turn_on(route, rule.destinations)
    return route


def _action(rule: HttpRule, variant: Variant, port: int, targets: Targets) -> RouteAction:
    action = RouteAction(timeout=seconds(rule.timeout_s or 0))
    _set_clusters(action, rule.destinations, port, targets)
    if variant.policy is not None:
        action.retry_policy.CopyFrom(variant.policy)
    http_actions.rewrite(action, rule)
    copies = http_actions.mirrors(rule.mirrors, lambda place: targets.cluster(place, port))
    action.request_mirror_policies.extend(copies)
    action.hash_policy.extend(http_actions.hash_policies(rule.destinations))
    if rule.unresolved_status == INTERNAL_ERROR:
        action.cluster_not_found_response_code = RouteAction.INTERNAL_SERVER_ERROR
    return action


def _set_clusters(
    action: RouteAction, destinations: tuple[Destination, ...], port: int, targets: Targets
) -> None:
    """One destination has a plain cluster, several (or one with header operations) weights.
    A weight of 0 gets nothing, unless it is the only one (Istio)."""
    live = tuple(d for d in destinations if d.weight > 0) or destinations[:1]
    if len(live) == 1 and live[0].headers == Destination("").headers:
        action.cluster = targets.cluster(live[0], port)
        return
    for destination in live:
        entry = _weighted(destination, targets.cluster(destination, port))
        action.weighted_clusters.clusters.append(entry)


def _weighted(destination: Destination, cluster: str) -> WeightedCluster.ClusterWeight:
    headers = destination.headers
    entry = WeightedCluster.ClusterWeight(
        name=cluster,
        request_headers_to_add=header_options(headers.request),
        request_headers_to_remove=headers.request.remove,
        response_headers_to_add=header_options(headers.response),
        response_headers_to_remove=headers.response.remove,
    )
    entry.weight.value = destination.weight or 1
    if host := host_of(headers.request):
        entry.host_rewrite_literal = host
    return entry
