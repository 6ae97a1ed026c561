"""The router's retries: whether an attempt that went wrong is followed by another, and when.

    lost or refused -> would the rule try again? -> retries left? -> room in the breaker? -> wait

A retry is in the breaker's books from its decision until its own outcome is known, so that what a
failing cluster gets on top of its load is bounded (Envoy's retry state).
"""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING

from proxy.http.message import Response
from proxy.l7 import extra_stats
from proxy.upstream import retry
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.retry import RetryRule

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


def set_up(stream: Stream, rule: RetryRule | None) -> None:
    """The first attempt begins. Requests that are never tried again have no rule."""
    if rule is not None and rule.policy.retry_on and rule.allows(stream.request):
        stream.rule = rule
        stream.retries_left = rule.policy.num_retries
        if rule.policy.per_try_idle_timeout_s:
            stream.idle_try_s = rule.policy.per_try_idle_timeout_s


def after_response(stream: Stream, response: Response, end: bool) -> bool:
    """True: the answer is not wanted, and another attempt follows. end: it has no body."""
    rule = stream.rule
    if rule is None:
        return False
    would = rule.on_response(response)
    if not would and not stream.retry_held and not stream.could_not_retry:
        return False
    wait_s = None
    limited = rule.policy.rate_limited_back_off
    if would and limited is not None and stream.cluster is not None:
        wait_s = retry.rate_limited_s(limited, response.headers, time(), stream.cluster.random)
    if not _follows(stream, rule, would, int(end), wait_s):
        return False
    assert stream.cluster is not None
    stream.cluster.retry_statuses().add(response.status)
    return True


def after_reset(stream: Stream, reason: str, sent: bool) -> bool:
    """True: the attempt was lost, and another one follows. sent: a part of it was written."""
    rule = stream.rule
    if rule is None or stream.responded:
        return False
    return _follows(stream, rule, rule.on_reset(reason, sent), 1)


def hedge(stream: Stream) -> bool:
    """True: another attempt follows beside the one that takes so long. Whatever the rule tries
    again, as nothing has gone wrong yet (Envoy)."""
    rule = stream.rule
    return rule is not None and not stream.responded and _follows(stream, rule, True, 0)


def renounce(stream: Stream) -> None:
    """The request has become too long to be kept for a retry."""
    if stream.rule is not None and stream.cluster is not None:
        stream.cluster.stats.retry_or_shadow_abandoned.value += 1
        stream.rule = None
    release(stream)


def release(stream: Stream) -> None:
    """The outcome of the last retry is known, or nobody wants it any more."""
    if stream.retry_held:
        stream.retry_held = False
        stream.breaker.retries -= 1


def _follows(
    stream: Stream, rule: RetryRule, would: bool, asking: int, wait_s: float | None = None
) -> bool:
    """asking: 1 if the attempt is in nobody's books any more."""
    cluster = stream.cluster
    assert cluster is not None
    stats = cluster.stats
    if stream.retry_held and not would:
        stats.upstream_rq_retry_success.value += 1
        extra_stats.count(stream, "upstream_rq_retry_success")
    release(stream)
    stream.could_not_retry = would
    if not would:
        return False
    if stream.retries_left <= 0:
        stats.upstream_rq_retry_limit_exceeded.value += 1
        extra_stats.count(stream, "upstream_rq_retry_limit_exceeded")
        _flag(stream, "URX")
        return False
    stream.retries_left -= 1
    if not stream.breaker.retry_allowed(asking):
        stats.upstream_rq_retry_overflow.value += 1
        extra_stats.count(stream, "upstream_rq_retry_overflow")
        _flag(stream, "UO")
        return False
    stream.could_not_retry = stream.timeout_retry = False
    stream.retry_held = True
    stream.breaker.retries += 1
    stats.upstream_rq_retry.value += 1
    extra_stats.count(stream, "upstream_rq_retry")
    _remember(stream, rule)
    _schedule(stream, rule, cluster, wait_s)
    return True


def _flag(stream: Stream, flag: str) -> None:
    if flag not in stream.flags.split(","):
        stream.flag(flag, "")


def _remember(stream: Stream, rule: RetryRule) -> None:
    """Whom the retry would rather not meet again. Envoy looks anew at the priorities that were
    tried once in `update_frequency` attempts."""
    host, policy = stream.host, rule.policy
    if host is None:
        return
    if policy.previous_hosts:
        stream.tried = [*(stream.tried or ()), host]
    often = policy.previous_priorities
    if often is not None:
        stream.tried_lately = (*stream.tried_lately, host.priority)
        if len(stream.tried_lately) >= often:
            stream.tried_priorities = stream.tried_priorities | set(stream.tried_lately)
            stream.tried_lately = ()


def _schedule(stream: Stream, rule: RetryRule, cluster: Cluster, wait_s: float | None) -> None:
    stats = cluster.stats
    if wait_s is None:
        stats.upstream_rq_retry_backoff_exponential.value += 1
        wait_s = retry.back_off_s(rule.policy.back_off, stream.back_offs, cluster.random)
        stream.back_offs += 1
    else:
        stats.upstream_rq_retry_backoff_ratelimited.value += 1
    stream.retrying = asyncio.get_running_loop().call_later(wait_s, stream.attempt_again)


def choose_again(stream: Stream, cluster: Cluster) -> Host | None:
    """A host for a retry: of `host_selection_retry_max_attempts` picks behind the first one the
    first that the rule does not avoid, else the last."""
    rule = stream.rule
    tried = stream.tried or ()
    attempts = 0 if rule is None else rule.policy.host_selection_retry_max_attempts
    host = None
    for at in range(attempts + 1):
        host = cluster.pick_again(stream, at)
        if host is None or rule is None or not rule.avoids(host, tried):
            break
    return host
