"""One route into what streams follow: `RouteEntry`."""

from __future__ import annotations

from collections.abc import Callable

from proxy import match
from proxy.compile.edits import request_edit, response_edit
from proxy.compile.routes.answers import direct_response, redirect
from proxy.compile.routes.durations import set_durations
from proxy.compile.routes.mirrors import mirrors
from proxy.compile.routes.place import Place
from proxy.compile.routes.rewriting import before_send, request_rewrite
from proxy.compile.routes.weights import weigh
from proxy.config.model import (
    DirectResponse,
    RedirectAction,
    RetryPolicy,
    RouteAction,
    WeightedCluster,
)
from proxy.config.model.rate_limits import RouteRateLimits
from proxy.http.message import Response
from proxy.l7.entry import ConnectRule, RouteEntry
from proxy.l7.extra_stats import RequestStats, route_stats
from proxy.l7.internal_redirect import InternalRedirects
from proxy.l7.stream import Stream
from proxy.route.hashing import request_hash
from proxy.upstream.cluster import Cluster
from proxy.upstream.retry import RetryRule

ATTEMPT_COUNT = b"x-envoy-attempt-count"
SET_COOKIE = b"set-cookie"

Counted = Callable[[Stream], RequestStats | None] | None
EditResponse = Callable[[Stream, Response], None]


def route_entry(place: Place, counted: Counted) -> RouteEntry:
    """counted: the virtual cluster of a request."""
    action = place.route.action
    if isinstance(action, RouteAction):
        return _forward(place, action, counted)
    entry = RouteEntry(place.route.name)
    _view(entry, place, None)
    if isinstance(action, RedirectAction):
        entry.answer = redirect(place, action)
    elif isinstance(action, DirectResponse):
        entry.answer = direct_response(place, action)
    else:  # a proxy has no cluster for what a server does itself (Envoy)
        entry.choose = _nobody
    edit = response_edit(place.edits())
    if edit is not None:
        entry.edit_response = lambda stream, response: edit(stream, response.headers)
    return entry


def _nobody(_: Stream) -> Cluster | None:
    return None


def _view(entry: RouteEntry, place: Place, weighted: WeightedCluster | None) -> None:
    """What filters and logs may know."""
    entry.learn(
        virtual_host=place.host.name,
        metadata=place.route.metadata,
        overrides=place.overrides(weighted),
        tracing=place.route.tracing,
        decorator=place.route.decorator,
    )


def _forward(place: Place, action: RouteAction, counted: Counted) -> RouteEntry:
    if action.weighted:
        entries = [_to_cluster(place, action, counted, each) for each in action.weighted]
        return weigh(action, entries, place.context)
    return _to_cluster(place, action, counted, None)


def _to_cluster(
    place: Place, action: RouteAction, counted: Counted, weighted: WeightedCluster | None
) -> RouteEntry:
    # Longer than functions are here: one line per fact, and cutting it would hide one.
    retry = action.retry or place.host.retry
    entry = RouteEntry(place.route.name)
    _view(entry, place, weighted)
    _choose(entry, place, action, weighted)
    set_durations(entry, action)
    redirects = action.internal_redirect
    connects = [each.connect for each in action.upgrades if each.connect is not None]
    entry.learn(
        not_found_status=action.cluster_not_found_status,
        priority=action.priority,
        idle_timeout_s=action.idle_timeout_s,
        tells_time=place.context.envoy_headers,
        retry=_rule(retry) if retry is not None else None,
        per_try_timeout_s=(retry.per_try_timeout_s or 0.0) if retry is not None else 0.0,
        hedges=_first(action.hedge_on_per_try_timeout, place.host.hedge_on_per_try_timeout),
        tells_timeout_retry=place.host.include_is_timeout_retry_header,
        rewrite=request_rewrite(place, action, request_edit(place.edits(weighted)), weighted),
        before_send=before_send(place, action),
        edit_response=_edit_response(place, action, weighted),
        hash=request_hash(action.hash_policies),
        metadata_match=_metadata_match(action, weighted),
        mirrors=mirrors(place.mirrors(action.mirrors), place.context),
        internal_redirect=InternalRedirects(redirects, place.route.name) if redirects else None,
        buffer_limit_bytes=place.buffer_limit_bytes(),
        upgrades={each.upgrade_type.encode(): each.enabled for each in action.upgrades},
        connect=ConnectRule(connects[0].allow_post, connects[0].proxy_protocol)
        if connects
        else None,
        strict_check=place.context.strict_check,
        respects_expected=place.context.respects_expected,
        counted=counted,
        rate_limits=_rate_limits(place, action),
        stats=route_stats(place.context.stats, place.host.name, place.route.stat_prefix),
    )
    added = [option.name for edits in place.edits(weighted) for option in edits.request_add]
    entry.sum_up(steers=any(name.lower().startswith("x-envoy-") for name in added))
    return entry


def _rate_limits(place: Place, action: RouteAction) -> RouteRateLimits | None:
    own, of_host = action.rate_limits, place.host.rate_limits
    return RouteRateLimits(own, of_host, action.include_vh_rate_limits) if own or of_host else None


def _first(*values: bool | None) -> bool:
    """The first that is set."""
    return next((value for value in values if value is not None), False)


def _choose(
    entry: RouteEntry, place: Place, action: RouteAction, weighted: WeightedCluster | None
) -> None:
    get = place.context.clusters.get
    header = action.cluster_header if weighted is None else weighted.cluster_header
    if header:
        values_of = match.request_values(header.encode())

        def name_of(stream: Stream) -> str:
            values = values_of(stream.request)
            return values[0].decode("latin-1") if values else ""

        entry.name_of = name_of
        entry.choose = lambda stream: get(name_of(stream))
        return
    name = (action.cluster or "") if weighted is None else weighted.name
    entry.cluster_name = name
    entry.choose = lambda _: get(name)


def _metadata_match(action: RouteAction, weighted: WeightedCluster | None) -> dict[str, object]:
    own = {} if weighted is None else weighted.metadata_match
    return {**action.metadata_match, **own}


def _edit_response(
    place: Place, action: RouteAction, weighted: WeightedCluster | None
) -> EditResponse | None:
    """Cookies of hash policies, the header mutations, the attempts' number (Envoy's order)."""
    edit = response_edit(place.edits(weighted))
    counts = place.host.include_attempt_count_in_response
    bakes = any(policy.ttl_s is not None for policy in action.hash_policies)
    if not counts and not bakes:
        return None if edit is None else lambda stream, response: edit(stream, response.headers)

    def apply(stream: Stream, response: Response) -> None:
        if bakes and stream.service_ms is not None:
            for cookie in stream.new_cookies:
                response.headers.add(SET_COOKIE, cookie)
        if edit is not None:
            edit(stream, response.headers)
        if counts and stream.attempt:
            response.headers.set(ATTEMPT_COUNT, b"%d" % stream.attempt)

    return apply


def _rule(policy: RetryPolicy) -> RetryRule:
    return RetryRule(
        policy,
        tuple([match.response_header(m) for m in policy.retriable_headers]),
        tuple([match.header(m) for m in policy.retriable_request_headers]),
    )
