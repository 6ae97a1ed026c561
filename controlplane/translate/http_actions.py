"""The parts of one HTTP rule of a VirtualService, each by itself -> their shape in the mesh."""

from __future__ import annotations

from controlplane.kinds import http_answer, http_destination, http_policy
from controlplane.kinds.http_rule import HttpRoute
from controlplane.mesh import model
from controlplane.mesh.model import Cors, Fault, Retry
from controlplane.translate.http_matches import string_match

DEFAULT_RETRY_ON = (
    "connect-failure",
    "refused-stream",
    "unavailable",
    "cancelled",
    "retriable-status-codes",
)
"""Istio's conditions where `retries` names none; with it goes the status code 503."""


def redirect(item: http_answer.HttpRedirect | None) -> model.Redirect | None:
    """FROM_PROTOCOL_DEFAULT is what a proxy does by itself."""
    if item is None:
        return None
    return model.Redirect(
        item.uri,
        item.authority,
        item.scheme,
        item.port,
        item.redirect_code,
        port_of_request=item.derive_port == "FROM_REQUEST_PORT",
        prefix=item.prefix_rewrite,
    )


def direct_response(item: http_answer.HttpDirectResponse | None) -> model.DirectResponse | None:
    if item is None:
        return None
    body: str | bytes = ""
    if item.body is not None:
        body = item.body.bytes_ or item.body.string
    return model.DirectResponse(item.status, body)


def rewrite(item: http_answer.HttpRewrite | None) -> model.Rewrite | None:
    if item is None:
        return None
    if item.uri_regex_rewrite is None:
        return model.Rewrite(item.uri, item.authority)
    regex = item.uri_regex_rewrite
    return model.Rewrite("", item.authority, regex.match, regex.rewrite)


def retry(item: http_policy.HttpRetry | None) -> Retry | None:
    """None: `retries` is not given and the dialect's default holds; attempts 0 turns it off."""
    if item is None:
        return None
    codes = tuple(int(word) for word in item.retry_on if word.isdecimal())
    words = tuple(word for word in item.retry_on if not word.isdecimal())
    if not item.retry_on:
        words, codes = DEFAULT_RETRY_ON, (503,)
    elif codes and "retriable-status-codes" not in words:
        words = (*words, "retriable-status-codes")
    return Retry(
        attempts=item.attempts,
        per_try_timeout_s=item.per_try_timeout_s or None,
        retry_on=words,
        retriable_status_codes=codes,
        previous_hosts=item.retry_ignore_previous_hosts,
        remote_localities=bool(item.retry_remote_localities),
        backoff_s=item.backoff_s,
    )


def fault(item: http_policy.HttpFault | None) -> Fault | None:
    """Without a percentage nothing is delayed or aborted, as in Istio."""
    if item is None:
        return None
    made = Fault()
    if (delay := item.delay) is not None:
        share = delay.percentage.value if delay.percentage else float(delay.percent or 0)
        made = Fault(delay.fixed_delay_s or 0.0, share)
    if (abort := item.abort) is None:
        return made
    return Fault(
        made.delay_s,
        made.delay_percent,
        abort.http_status,
        http_policy.GRPC_STATUSES.index(abort.grpc_status) if abort.grpc_status else None,
        abort.percentage.value if abort.percentage else 0.0,
    )


def mirror_percent(route: HttpRoute) -> float:
    """Of `mirror`: mirrorPercentage, or one of its two older words, or everything."""
    if route.mirror_percentage is not None:
        return route.mirror_percentage.value
    older = (route.mirror_percent, route.old_mirror_percent)
    return next((float(value) for value in older if value is not None), 100.0)


def cors(item: http_policy.CorsPolicy | None) -> Cors | None:
    """allowOrigin, the older word, counts where allowOrigins is empty."""
    if item is None:
        return None
    origins = tuple(filter(None, map(string_match, item.allow_origins)))
    older = (
        model.StringMatch("regex", ".*") if name == "*" else model.StringMatch("exact", name)
        for name in item.allow_origin
    )
    return Cors(
        origins=origins or tuple(older),
        methods=item.allow_methods,
        headers=item.allow_headers,
        exposed=item.expose_headers,
        max_age_s=item.max_age_s,
        credentials=item.allow_credentials,
        forwards={"UNSPECIFIED": None, "FORWARD": True, "IGNORE": False}[item.unmatched_preflights],
    )


def headers(item: http_destination.Headers) -> model.Headers:
    return model.Headers(_operations(item.request), _operations(item.response))


def _operations(
    item: http_destination.HeaderOperations | http_destination.ResponseHeaderOperations,
) -> model.HeaderOperations:
    return model.HeaderOperations(item.set, item.add, item.remove)
