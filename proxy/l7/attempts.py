"""The router: attempts to have a request answered by a host of its cluster (Envoy's router filter).

    (start) -> leased or queued -> head sent -> response kept -> done
                    |                 |             |
                    +--- lost or refused: retry, or answer ourselves

An attempt is not an object: a stream has at most one, and its state is which of `up` (a
connection) and `waiting` (a place in a host's queue) is set. The body is kept while a retry may
need it, up to the cluster's buffer limit. The functions here are `Stream`'s methods for its
upstream half; they stand apart so that each half can be read alone.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from proxy.filters.api import WAIT, Answer, Reply
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.l7 import reply, tunnel
from proxy.outbox import flush
from proxy.upstream import retry
from proxy.upstream.cluster import Cluster
from proxy.upstream.pool import Connection

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

NEVER = float("inf")


def router(stream: Stream) -> Answer:
    """The last step: what the route says, be it an answer or an attempt upstream."""
    entry = stream.route
    if entry is None:
        return reply.NO_ROUTE
    if entry.answer is not None:
        return entry.answer(stream)
    return start(stream)


# --------------------------------------------------------------------------- starting


def start(stream: Stream) -> Answer:
    """The first attempt: which cluster, which host, which connection."""
    entry = stream.route
    assert entry is not None
    cluster = stream.cluster = entry.choose(stream)
    if cluster is None:
        return reply.cluster_not_found(entry.not_found_status)
    stream.breaker = cluster.breakers[entry.priority]
    stream.timeout_s = entry.timeout_s
    if entry.retry is not None:
        stream.rule = entry.retry
        stream.per_try_timeout_s = entry.per_try_timeout_s
    entry.rewrite(stream)
    if stream.rule is not None:
        stream.retries_left = stream.rule.policy.num_retries
    if stream.request_done:
        _start_clock(stream)
    elif stream.body is None:
        stream.body = []
    return _attempt(stream, cluster)


def _start_clock(stream: Stream) -> None:
    """The route's timeout counts from the end of the request (Envoy's rule)."""
    stream.sent_at = monotonic()
    if stream.timeout_s:
        stream.deadline = stream.sent_at + stream.timeout_s


def _attempt(stream: Stream, cluster: Cluster) -> Answer:
    entry = stream.route
    assert entry is not None
    if stream.tried is None:
        host = cluster.pick()
    else:
        host = cluster.pick_other(stream.tried, entry.host_attempts)
    if host is None:
        cluster.stats.upstream_cx_none_healthy.value += 1
        cluster.stats.statuses.add(503)
        return reply.NO_HEALTHY
    breaker = stream.breaker
    stream.attempt += 1
    stream.host = host
    stream.waiting = True
    if stream.per_try_timeout_s and stream.request_done:
        stream.try_deadline = monotonic() + stream.per_try_timeout_s
    if not cluster.lease(host, breaker, stream):
        _leave(stream)
        cluster.stats.statuses.add(503)
        return reply.OVERFLOW
    return WAIT


def on_connected(stream: Stream, connection: Connection) -> None:
    stream.waiting = False
    stream.up = connection
    if stream.down.is_full(stream):
        connection.pause_reading(stream)
    entry = stream.route
    assert entry is not None
    connection.cluster.stats.upstream_rq_total.value += 1
    if entry.before_send is not None:
        entry.before_send(stream)
    done = stream.request_done
    if done and not stream.body and stream.trailers is None:
        connection.send_request(stream, stream.request, True)
        return
    connection.send_request(stream, stream.request, False)
    if stream.holds:
        return
    if stream.body is not None:
        _send_kept(stream, connection)
    if done:
        connection.end_request(stream, stream.trailers)


def _send_kept(stream: Stream, connection: Connection) -> None:
    for data in stream.body or ():
        connection.send_data(stream, data)
    if not stream.retries_left:
        stream.body = None
    stream.down.resume_reading(stream)


# --------------------------------------------------------------------------- the request's body


def pass_request_data(stream: Stream, data: bytes) -> None:
    if stream.up is not None and not stream.holds:
        stream.up.send_data(stream, data)
    if stream.body is not None:
        stream.body.append(data)
        stream.body_bytes += len(data)
        _bound_body(stream)


def _bound_body(stream: Stream) -> None:
    """Too much to keep: give up on retries if it is on its way, else stop reading."""
    cluster = stream.cluster
    if cluster is None:  # a filter waits
        if stream.body_bytes > (stream.buffer_limit_bytes or stream.manager.buffer_limit_bytes):
            stream.down.pause_reading(stream)
        return
    if stream.body_bytes <= cluster.config.per_connection_buffer_limit_bytes:
        return
    if stream.up is not None and not stream.holds:
        stream.body = None
        stream.retries_left = 0
    else:
        stream.down.pause_reading(stream)


def pass_request_end(stream: Stream, trailers: Headers | None) -> None:
    stream.trailers = trailers
    if stream.cluster is None:
        return
    _start_clock(stream)
    if stream.per_try_timeout_s:
        stream.try_deadline = stream.sent_at + stream.per_try_timeout_s
    if stream.up is not None and not stream.holds:
        stream.up.end_request(stream, trailers)


def on_writable(stream: Stream, writable: bool) -> None:
    """The upstream's buffer is full: stop reading from the client, and the other way about."""
    if writable:
        stream.down.resume_reading(stream)
    else:
        stream.down.pause_reading(stream)


def on_downstream_full(stream: Stream, full: bool) -> None:
    """The client does not keep up, or does again: no more, or more, from the upstream."""
    up = stream.up
    if up is None:
        return
    if full:
        up.pause_reading(stream)
    else:
        up.resume_reading(stream)


# --------------------------------------------------------------------------- the answer


def on_informational(stream: Stream, status: int, headers: Headers) -> None:
    """1xx of the upstream: they end here unless `proxy_100_continue` says otherwise."""
    assert stream.cluster is not None
    stream.cluster.stats.statuses.add(status)
    if stream.manager.proxies_informational and not stream.responded:
        stream.down.send_informational(stream, status, headers)


def on_response(stream: Stream, response: Response, data: bytes, end: bool) -> None:
    cluster, host, entry = stream.cluster, stream.host, stream.route
    assert cluster is not None and host is not None and entry is not None
    now = monotonic()
    status = response.status
    cluster.on_response(host, stream.request, response, now)
    rule = stream.rule
    if rule is not None and rule.on_response(response) and _retry_wanted(stream):
        if not end and stream.up is not None:
            stream.up.abandon(stream)
        _leave(stream)
        _schedule_retry(stream)
        return
    if stream.tunnels:
        answer = tunnel.answered(stream, response)
        if answer is not None:
            stream.respond(answer)
            return
    cluster.stats.statuses.add(status)
    if stream.attempt > 1 and status < 500:
        cluster.stats.upstream_rq_retry_success.value += 1
    stream.try_deadline = NEVER
    if stream.sent_at:  # Envoy: an answer before the end of the request has no time of its own
        time_ms = (now - stream.sent_at) * 1000
        cluster.stats.upstream_rq_time.record(time_ms)
        if entry.tells_time:
            stream.service_ms = int(time_ms)
    if end:
        stream.up = None
    if stream.holds and tunnel.agrees(stream.request.upgrade, status):
        stream.deliver(response, data, end)
        tunnel.open_up(stream)
        return
    stream.body = None
    stream.deliver(response, data, end)


def on_data(stream: Stream, data: bytes) -> None:
    stream.send_data(data)


def on_end(stream: Stream, trailers: Headers | None) -> None:
    _leave(stream)
    stream.send_end(trailers)


def on_reset(stream: Stream, reason: str, detail: str = "") -> None:
    """The attempt was lost: no connection could be had, or it broke."""
    cluster, host = stream.cluster, stream.host
    assert cluster is not None and host is not None
    sent = stream.up is not None
    stream.failure = detail
    _leave(stream)
    if reason != retry.OVERFLOW:
        cluster.on_local_error(host, monotonic())
    rule = stream.rule
    if stream.responded:
        why = reason.replace(" ", "_")
        stream.flag(reply.reset_flag(reason), f"upstream_reset_after_response_started{{{why}}}")
        stream.down.abort(stream)
        return
    if rule is not None and rule.on_reset(reason, sent) and _retry_wanted(stream):
        _schedule_retry(stream)
        return
    answer = reply.upstream_reset(reason, detail, stream.attempt > 1)
    cluster.stats.statuses.add(answer.status)
    stream.respond(answer)


# --------------------------------------------------------------------------- trying again


def _retry_wanted(stream: Stream) -> bool:
    """The answer may be tried again: is there anything left to do it with?"""
    cluster = stream.cluster
    assert cluster is not None
    if stream.responded or (not stream.request_done and stream.body is None):
        return False
    if stream.retries_left <= 0:
        if stream.attempt > 1:
            stream.flag("URX", "")
            cluster.stats.upstream_rq_retry_limit_exceeded.value += 1
        return False
    if not stream.retry_counted and not stream.breaker.retry_allowed():
        cluster.stats.upstream_rq_retry_overflow.value += 1
        return False
    return True


def _schedule_retry(stream: Stream) -> None:
    cluster, rule = stream.cluster, stream.rule
    assert cluster is not None and rule is not None
    stream.retries_left -= 1
    if not stream.retry_counted:  # in flight until the stream ends, however often it tries
        stream.retry_counted = True
        stream.breaker.retries += 1
    cluster.stats.upstream_rq_retry.value += 1
    policy = rule.policy
    if policy.previous_hosts and stream.host is not None:
        stream.tried = [*(stream.tried or ()), stream.host]
    delay_s = retry.back_off_s(policy.back_off, stream.attempt, cluster.random)
    loop = asyncio.get_running_loop()
    stream.retrying = loop.call_later(delay_s, _retry, stream)


def _retry(stream: Stream) -> None:
    cluster = stream.cluster
    assert cluster is not None
    stream.retrying = None
    answer = _attempt(stream, cluster)
    if isinstance(answer, Reply):
        stream.respond(answer)
    flush()


# --------------------------------------------------------------------------- time and the end


def on_deadline(stream: Stream, now: float) -> None:
    """The sweep found a deadline behind `now`."""
    cluster, host = stream.cluster, stream.host
    if cluster is None:
        return
    overall = now >= stream.deadline
    if host is not None and (stream.up is not None or stream.waiting):
        host.rq_timeout += 1
        cluster.on_local_error(host, now)
    if overall:
        stream.deadline = stream.try_deadline = NEVER
        cluster.stats.upstream_rq_timeout.value += 1
        if not stream.responded:
            cluster.stats.statuses.add(504)
        stream.respond(reply.ROUTE_TIMEOUT)
        return
    stream.try_deadline = NEVER
    cluster.stats.upstream_rq_per_try_timeout.value += 1
    _abandon(stream)
    rule = stream.rule
    if rule is not None and rule.on_reset(retry.PER_TRY_TIMEOUT, True) and _retry_wanted(stream):
        _schedule_retry(stream)
        return
    cluster.stats.statuses.add(504)
    stream.respond(reply.PER_TRY_TIMEOUT)


def give_up(stream: Stream) -> None:
    """No more attempts: whatever is under way is let go of."""
    if stream.retrying is not None:
        stream.retrying.cancel()
        stream.retrying = None
    if stream.up is not None or stream.waiting:
        _abandon(stream)
    stream.body = None


def _abandon(stream: Stream) -> None:
    up, host, cluster = stream.up, stream.host, stream.cluster
    assert host is not None and cluster is not None
    if stream.waiting:
        cluster.cancel_pending(host, stream.breaker, stream)
    _leave(stream)
    if up is not None:
        up.abandon(stream)


def _leave(stream: Stream) -> None:
    """The attempt is over."""
    stream.up = None
    stream.waiting = False
