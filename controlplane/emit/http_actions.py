"""What an HTTP rule does beside choosing clusters, in Envoy's words: answers, rewrites, mirrors,
faults, CORS, and by what key an endpoint is chosen.

Faults and CORS are filters that do nothing but for routes that say so; every outbound listener has
them (`http_filters`), so that the first such rule of a mesh changes routes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    RedirectAction,
    RouteAction,
)
from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors as CorsFilter
from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.any_pb2 import Any

from controlplane.emit import dynamic, rule_filters
from controlplane.emit.matches import host_of
from controlplane.emit.words import packed, seconds, string_matcher
from controlplane.mesh.model import (
    ConsistentHash,
    Cors,
    Destination,
    DirectResponse,
    Fault,
    HttpRule,
    Mirror,
    Redirect,
)
from controlplane.mesh.rule_filters import NO_FILTERS, RuleFilters

FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"
_REDIRECT_CODES: Mapping[int, RedirectAction.RedirectResponseCode] = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


def http_filters(wanted: RuleFilters = NO_FILTERS) -> list[hcm_pb2.HttpFilter]:
    """In Istio's order; they stand before the router. wanted: what only some rules have."""
    return [
        hcm_pb2.HttpFilter(name=FAULT, typed_config=packed(HTTPFault())),
        hcm_pb2.HttpFilter(name=CORS, typed_config=packed(CorsFilter())),
        *map(rule_filters.authorizing, wanted.authorizers),
        dynamic.http_filter(),
        *([rule_filters.keeping_sessions()] if wanted.sessions else ()),
    ]


def percent(value: float) -> FractionalPercent:
    """0..100, exact to a ten-thousandth."""
    return FractionalPercent(numerator=round(value * 10_000), denominator=FractionalPercent.MILLION)


# --------------------------------------------------------------------------- answers


def redirect(item: Redirect, port: int) -> RedirectAction:
    """port: the one for which the request came."""
    action = RedirectAction(response_code=_REDIRECT_CODES[item.code])
    if item.uri:
        action.path_redirect = item.uri
    if item.prefix:
        action.prefix_rewrite = item.prefix
    if item.pattern:
        action.regex_rewrite.pattern.regex = item.pattern
        action.regex_rewrite.substitution = item.substitution
    action.host_redirect = item.authority
    if item.scheme:
        action.scheme_redirect = item.scheme
    action.port_redirect = port if item.port_of_request else item.port or 0
    return action


def direct_response(item: DirectResponse) -> DirectResponseAction:
    action = DirectResponseAction(status=item.status)
    if isinstance(item.body, bytes):
        action.body.inline_bytes = item.body
    elif item.body:
        action.body.inline_string = item.body
    return action


# --------------------------------------------------------------------------- on the way


def rewrite(action: RouteAction, rule: HttpRule) -> None:
    """The path and the host as `rule` wants them to go on."""
    host = host_of(rule.headers.request)
    if rule.rewrite is not None:
        action.prefix_rewrite = rule.rewrite.uri
        if rule.rewrite.pattern:
            action.regex_rewrite.pattern.regex = rule.rewrite.pattern
            action.regex_rewrite.substitution = rule.rewrite.substitution
        host = rule.rewrite.authority or host
    if host:
        action.host_rewrite_literal = host


def mirrors(
    items: Iterable[Mirror], cluster_of: Callable[[Destination], str]
) -> Iterator[RouteAction.RequestMirrorPolicy]:
    """Copies of a share of requests; what is answered to them is thrown away."""
    for item in items:
        if item.percent > 0:
            fraction = RuntimeFractionalPercent(default_value=percent(item.percent))
            yield RouteAction.RequestMirrorPolicy(
                cluster=cluster_of(item.destination), runtime_fraction=fraction
            )


def hash_policies(
    destinations: Iterable[Destination],
) -> Iterator[RouteAction.HashPolicy]:
    """The keys of all destinations: Envoy mixes those that a request has, and so does Istio."""
    seen: set[ConsistentHash] = set()
    for destination in destinations:
        key = destination.hash
        if key is not None and key not in seen:
            seen.add(key)
            yield _hash_policy(key)


def _hash_policy(key: ConsistentHash) -> RouteAction.HashPolicy:
    policy = RouteAction.HashPolicy()
    if key.header:
        policy.header.header_name = key.header
    elif key.cookie is not None:
        policy.cookie.name = key.cookie.name
        policy.cookie.path = key.cookie.path
        if key.cookie.ttl_s is not None:
            policy.cookie.ttl.CopyFrom(seconds(key.cookie.ttl_s))
        for name, value in key.cookie.attributes:
            policy.cookie.attributes.add(name=name, value=value)
    elif key.source_ip:
        policy.connection_properties.source_ip = True
    else:
        policy.query_parameter.name = key.query
    return policy


# --------------------------------------------------------------------------- filters per route


def filter_configs(rule: HttpRule) -> dict[str, Any]:
    """For a route's typed_per_filter_config."""
    found: dict[str, Any] = {}
    if rule.fault is not None:
        found[FAULT] = packed(_fault(rule.fault))
    if rule.cors is not None:
        found[CORS] = packed(_cors(rule.cors))
    return found | rule_filters.configs(rule)


def _fault(fault: Fault) -> HTTPFault:
    message = HTTPFault()
    if fault.delay_s:
        delay = FaultDelay(
            fixed_delay=seconds(fault.delay_s), percentage=percent(fault.delay_percent)
        )
        message.delay.CopyFrom(delay)
    if fault.abort_grpc is not None:
        abort = FaultAbort(grpc_status=fault.abort_grpc, percentage=percent(fault.abort_percent))
        message.abort.CopyFrom(abort)
    elif fault.abort_http is not None:
        abort = FaultAbort(http_status=fault.abort_http, percentage=percent(fault.abort_percent))
        message.abort.CopyFrom(abort)
    return message


def _cors(cors: Cors) -> CorsPolicy:
    policy = CorsPolicy(
        allow_origin_string_match=[string_matcher(origin) for origin in cors.origins],
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.exposed),
        filter_enabled=RuntimeFractionalPercent(default_value=percent(100)),
    )
    if cors.max_age_s is not None:
        policy.max_age = str(int(cors.max_age_s))
    if cors.credentials is not None:
        policy.allow_credentials.value = cors.credentials
    if cors.forwards is not None:
        policy.forward_not_matching_preflights.value = cors.forwards
    return policy
