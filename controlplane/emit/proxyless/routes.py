"""Routes as gRPC's clients take them (gRFC A28, A31, A33, A42, A44): by method, headers and share.

gRPC's requests are all POST, and a client changes nothing of them on their way. A match that it
can't make is left out with its route; other rules of the service hold as they stand.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

from envoy.config.route.v3.route_components_pb2 import (
    RetryPolicy,
    Route,
    RouteAction,
    VirtualHost,
    WeightedCluster,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import http_actions, names
from controlplane.emit.clients import Caller
from controlplane.emit.matches import route_match
from controlplane.emit.proxyless.losses import Losses
from controlplane.emit.retries import DEFAULT_RETRY_ON
from controlplane.emit.routes import applies, rules_of
from controlplane.emit.words import seconds
from controlplane.mesh.model import (
    NOWHERE,
    ConsistentHash,
    Destination,
    HeaderOperations,
    HttpRule,
    Retry,
    RouteMatch,
    Service,
    StringMatch,
)
from controlplane.mesh.re2 import quoted

RETRY_ON = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
"""The words of retryOn that gRPC knows (gRFC A44)."""
MAX_ATTEMPTS = 4
"""gRPC retries no more than that, the first try being one of them."""
MAX_WITHOUT = 4
"""Each value that a header must not have doubles the routes of a match."""
CHANNEL = "io.grpc.channel_id"


def configuration(
    service: Service, port: int, caller: Caller, losses: Losses
) -> RouteConfiguration:
    """Of one service port. It is asked for by the names of listeners, so that it takes any host."""
    name = names.outbound_cluster(service.hostname, port)
    host = VirtualHost(name=names.virtual_host(service.hostname, port), domains=["*"])
    for rule in rules_of(service, port):
        host.routes.extend(_rule_routes(rule, port, caller, losses))
    return RouteConfiguration(name=name, virtual_hosts=[host])


def _rule_routes(rule: HttpRule, port: int, caller: Caller, losses: Losses) -> Iterator[Route]:
    if rule.redirect is not None or rule.direct_response is not None:
        what = "redirects" if rule.redirect is not None else "answers of a route itself"
        losses.note(f"gRPC clients know no {what}: the calls that it takes fail", rule.position)
    _note_changes(rule, losses)
    for match in rule.matches or (RouteMatch(),):
        if not applies(match, port, caller):
            continue
        known = _known(match, rule, losses)
        for one in _told_apart(known) if known is not None else ():
            yield _route(rule, one, match, port, losses)


# --------------------------------------------------------------------------- matches


def _known(match: RouteMatch, rule: HttpRule, losses: Losses) -> RouteMatch | None:
    """What of it a gRPC client asks; None if no call can match, or nobody could tell."""
    for what, there in (
        ("query parameters", match.query_params),
        ("claims of tokens", match.claims),
        ("the scheme", match.scheme),
        ("the authority", match.authority),
    ):
        if there:
            losses.note(
                f"gRPC clients can't match by {what}: they are without this route", rule.position
            )
            return None
    if sum(value is not None for value in match.without_headers.values()) > MAX_WITHOUT:
        losses.note(
            f"gRPC clients match by at most {MAX_WITHOUT} values of withoutHeaders: they are "
            "without this route",
            rule.position,
        )
        return None
    if match.method is not None and not _is_post(match.method):
        return None
    return replace(match, method=None)


def _is_post(method: StringMatch) -> bool:
    """gRPC over HTTP/2: every request is a POST."""
    if method.kind == "exact":
        return method.value == "POST"
    return method.kind == "regex" or "POST".startswith(method.value)


def _told_apart(match: RouteMatch) -> Iterator[RouteMatch]:
    """To gRPC a header that is not there is neither some value nor another one (gRFC A28): without
    a value is either without the header, or with another value."""
    choices = [
        [(name, None), (name, value)]
        if value is not None and not _takes_nothing(value)
        else [(name, value)]
        for name, value in match.without_headers.items()
    ]
    for chosen in product(*choices):
        yield replace(match, without_headers=dict(chosen))


def _takes_nothing(match: StringMatch) -> bool:
    """The empty value, for which one that is not there stands (Istio)."""
    if match.kind == "regex":
        return _matches_nothing(match.value)
    return not match.value


def _matches_nothing(pattern: str) -> bool:
    """As far as Python can read what is RE2's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return re.fullmatch(pattern, "") is not None
    except (re.error, OverflowError, RecursionError):
        return False


def _spelled(match: RouteMatch) -> RouteMatch:
    """gRPC has no prefix of whole segments: as an expression."""
    uri = match.uri
    if uri is None or not match.whole_segments or uri.kind != "prefix":
        return match
    pattern = f"{quoted(uri.value)}(/.*)?"
    if match.ignore_uri_case:
        pattern = f"(?i){pattern}"
    return replace(match, uri=StringMatch("regex", pattern), whole_segments=False)


# --------------------------------------------------------------------------- actions


def _route(
    rule: HttpRule, match: RouteMatch, named: RouteMatch, port: int, losses: Losses
) -> Route:
    route = Route(
        name=".".join(part for part in (rule.name, named.name) if part),
        match=route_match(_spelled(match)),
    )
    for header in route.match.headers:
        header.ClearField("treat_missing_header_as_empty")
    if rule.fault is not None:
        faults = http_actions.filter_configs(replace(rule, cors=None))
        route.typed_per_filter_config[http_actions.FAULT].CopyFrom(faults[http_actions.FAULT])
    if rule.authorizers:  # nobody can be asked, so nobody passes
        route.direct_response.status = 403
    elif rule.redirect is not None:
        route.redirect.CopyFrom(http_actions.redirect(rule.redirect, port))
    elif rule.direct_response is not None:
        route.direct_response.CopyFrom(http_actions.direct_response(rule.direct_response))
    else:
        route.route.CopyFrom(_action(rule, port, losses))
    return route


def _action(rule: HttpRule, port: int, losses: Losses) -> RouteAction:
    action = RouteAction()
    if rule.timeout_s:
        # gRFC A31: the deadline of a call is the earlier one of its own and this.
        action.max_stream_duration.grpc_timeout_header_max.CopyFrom(seconds(rule.timeout_s))
    _set_clusters(action, rule.destinations, port)
    policy = _retries(rule.retry, rule, losses)
    if policy is not None:
        action.retry_policy.CopyFrom(policy)
    keys = dict.fromkeys(d.hash for d in rule.destinations if d.hash is not None)
    action.hash_policy.extend(_hash_policy(key, rule, losses) for key in keys)
    return action


def _set_clusters(action: RouteAction, places: tuple[Destination, ...], port: int) -> None:
    live = tuple(place for place in places if place.weight > 0) or places[:1]
    if len(live) == 1:
        action.cluster = _cluster_name(live[0], port)
        return
    for place in live:
        entry = WeightedCluster.ClusterWeight(name=_cluster_name(place, port))
        entry.weight.value = place.weight
        action.weighted_clusters.clusters.append(entry)


def _cluster_name(place: Destination, port: int) -> str:
    return names.outbound_cluster(place.host, place.port or port, place.subset)


def clusters_of(table: RouteConfiguration) -> Iterable[str]:
    """The clusters that its routes name."""
    for host in table.virtual_hosts:
        for route in host.routes:
            weighted = route.route.weighted_clusters.clusters
            yield from [entry.name for entry in weighted] or [route.route.cluster]


def _retries(retry: Retry | None, rule: HttpRule, losses: Losses) -> RetryPolicy | None:
    """Without a policy gRPC repeats by itself what nobody has seen, which is the default here."""
    if retry is None or not retry.attempts or not retry.retry_on:
        return None
    known = [word for word in retry.retry_on if word in RETRY_ON]
    if len(known) < len(retry.retry_on) and not _is_default(retry):
        others = ", ".join(word for word in retry.retry_on if word not in RETRY_ON)
        losses.note(f"gRPC clients know no retryOn of {others}", rule.position)
    if retry.per_try_timeout_s is not None:
        losses.note("gRPC clients know no perTryTimeout", rule.position)
    if not known or _is_default(retry):
        return None
    if retry.attempts > MAX_ATTEMPTS:
        losses.note(f"gRPC clients try a call {MAX_ATTEMPTS + 1} times at most", rule.position)
    policy = RetryPolicy(retry_on=",".join(known))
    policy.num_retries.value = min(retry.attempts, MAX_ATTEMPTS)
    if retry.backoff_s is not None:
        policy.retry_back_off.base_interval.CopyFrom(seconds(retry.backoff_s))
    return policy


def _is_default(retry: Retry) -> bool:
    return set(retry.retry_on) == set(DEFAULT_RETRY_ON)


def _hash_policy(key: ConsistentHash, rule: HttpRule, losses: Losses) -> RouteAction.HashPolicy:
    """By a header; anything else is a client's own, and so the same for all its calls."""
    policy = RouteAction.HashPolicy()
    if key.header:
        policy.header.header_name = key.header
        return policy
    losses.note(
        "gRPC clients hash by headers only: each keeps to one endpoint in place of a cookie's, "
        "an address's or a query's",
        rule.position if rule.position != NOWHERE else losses.place,
    )
    policy.filter_state.key = CHANNEL
    return policy


# --------------------------------------------------------------------------- what is left out


def _note_changes(rule: HttpRule, losses: Losses) -> None:
    per_destination = any(
        _changes(d.headers.request) or _changes(d.headers.response) for d in rule.destinations
    )
    for what, there in (
        (
            "changes of headers",
            per_destination or _changes(rule.headers.request) or _changes(rule.headers.response),
        ),
        ("rewrites", rule.rewrite is not None),
        ("mirrors", bool(rule.mirrors)),
        ("CORS", rule.cors is not None),
        ("sessions", rule.session is not None),
        ("ExternalAuth, so that this rule refuses all calls", bool(rule.authorizers)),
    ):
        if there:
            losses.note(f"gRPC clients know no {what}", rule.position)


def _changes(operations: HeaderOperations) -> bool:
    return bool(operations.set or operations.add or operations.remove)
