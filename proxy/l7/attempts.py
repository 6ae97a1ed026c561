"""The router: attempts to have a request answered by a host of its cluster (Envoy's router filter).

    (start) -> leased or queued -> head sent -> response kept -> done
                    |                 |             |
                    +--- lost or refused: retry, or answer ourselves

An attempt is not an object: a stream has at most one (but for `hedging`), and its state is which
of `up` (a connection) and `waiting` (a place in a host's queue) is set. The body is kept while a
retry may need it, up to the cluster's buffer limit. The functions here are `Stream`'s methods for
its upstream half; they stand apart so that each half can be read alone. Whether a lost or refused
attempt is followed by another is `retries`' business, time is `deadlines`'.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.filters.api import WAIT, Answer, Reply
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.l7 import deadlines, extra_stats, mirror, reply, retries, steering, tunnel
from proxy.l7.durations import route_timeout_s
from proxy.outbox import flush
from proxy.route.matching import is_grpc
from proxy.upstream import retry
from proxy.upstream.cluster import Cluster
from proxy.upstream.pool import Carrier, Exchange

if TYPE_CHECKING:
    from proxy.l7.entry import RouteEntry
    from proxy.l7.stream import Stream

NEVER: Final[float] = deadlines.NEVER


def router(stream: Stream) -> Answer:
    """The last step: what the route says, be it an answer or an attempt upstream."""
    entry = stream.route
    if entry is None:
        stream.manager.stats.no_route.value += 1
        return reply.NO_ROUTE
    if entry.answer is not None:
        stream.manager.stats.rq_direct_response.value += 1
        return entry.answer(stream)
    return start(stream)


# --------------------------------------------------------------------------- starting


def start(stream: Stream) -> Answer:
    """The first attempt: which cluster, which host, which connection."""
    entry = stream.route
    assert entry is not None
    cluster = stream.cluster = entry.choose(stream)
    if cluster is None:
        return _await_cluster(stream, entry) or _not_found(stream, entry)
    if cluster.drop_share and cluster.random.random() < cluster.drop_share:
        return reply.DROPPED_ALWAYS if cluster.drop_share >= 1 else reply.DROPPED
    stream.breaker = cluster.breakers[entry.priority]
    stream.timeout_s = entry.timeout_s
    shape = stream.request.headers.shape
    extras = entry.has_extras or steering.known.get(shape) is not steering.NEITHER
    if extras:
        if entry.strict_check is not None:
            refusal = entry.strict_check(stream)
            if refusal is not None:
                return refusal
        _take_extras(stream, entry)
    entry.rewrite(stream)
    if extras:
        rule = entry.retry
        if steering.known.get(stream.request.headers.shape) != steering.NEITHER:
            rule = steering.take_retries(stream, rule)
        retries.set_up(stream, rule)
    if stream.request_done:
        _start_clock(stream)
    elif stream.body is None:
        stream.body = []
    if not extras or not entry.mirrors:
        return _attempt(stream, cluster)
    body = stream.body
    answer = _attempt(stream, cluster)
    if answer is WAIT and not stream.responded:
        mirror.begin(stream, body or [])
    return answer


def _await_cluster(stream: Stream, entry: RouteEntry) -> Answer:
    """Whoever fetches clusters on demand may yet find it."""
    fetch = stream.chain.missing_cluster
    name = entry.cluster_name if entry.name_of is None else entry.name_of(stream)
    if fetch is None or not name:
        return None

    def told(found: bool | None) -> None:
        if stream.ended or stream.responded:
            return
        if found:
            stream.advance()
        else:
            stream.respond(_not_found(stream, entry))

    return fetch(stream, name, told)


def _not_found(stream: Stream, entry: RouteEntry) -> Reply:
    stream.manager.stats.no_cluster.value += 1
    return reply.cluster_not_found(entry.not_found_status)


def _take_extras(stream: Stream, entry: RouteEntry) -> None:
    """What few routes have, or few clients ask for."""
    stream.has_extras = True
    if entry.grpc_timeout is not None and is_grpc(stream.request):
        stream.timeout_s = route_timeout_s(stream.request, entry.grpc_timeout)
    if entry.counted is not None or entry.stats is not None:
        extra_stats.set_up(stream, entry)
    if entry.retry is not None:
        if entry.per_try_timeout_s:
            stream.per_try_timeout_s = entry.per_try_timeout_s
        if entry.hedges:
            stream.may_hedge = True
    if entry.internal_redirect is not None:
        stream.keeps_body = True
    if entry.connect is not None and tunnel.ends_here(stream):
        stream.ends_in_tcp = stream.holds = True
    steering.take_times(stream, entry.respects_expected)
    if 0 < stream.timeout_s <= stream.per_try_timeout_s:
        stream.per_try_timeout_s = 0.0


def _start_clock(stream: Stream) -> None:
    """The route's timeout counts from the end of the request (Envoy's rule)."""
    stream.sent_at = monotonic()
    if stream.timeout_s:
        stream.deadline = stream.sent_at + stream.timeout_s


def _attempt(stream: Stream, cluster: Cluster) -> Answer:
    if stream.attempt:
        host = retries.choose_again(stream, cluster)
    elif stream.has_extras and stream.preferred is not None:
        host = cluster.pick_preferred(stream, *stream.preferred)
    else:
        host = cluster.pick() if cluster.pick_for is None else cluster.pick_for(stream)
    if host is None:
        cluster.stats.upstream_cx_none_healthy.value += 1
        cluster.stats.statuses.add(503)
        extra_stats.charge(stream, 503)
        return reply.NO_HEALTHY
    stream.attempt += 1
    stream.host = host
    stream.waiting = True
    if stream.has_extras:
        if stream.traced is not None:
            stream.traced.begin_attempt(stream)
        if stream.ends_in_tcp:
            tunnel.dial(stream, cluster, host)
            return WAIT
    if not cluster.lease(host, stream.breaker, stream):
        _leave(stream)
        cluster.stats.statuses.add(503)
        extra_stats.charge(stream, 503)
        return reply.OVERFLOW
    return WAIT


def attempt_again(stream: Stream) -> None:
    """The back-off before a retry is over."""
    cluster, entry = stream.cluster, stream.route
    assert cluster is not None and entry is not None
    stream.retrying = None
    if entry.tells_time:
        steering.tell_time_left(stream, monotonic())
    if entry.tells_timeout_retry:
        steering.tell_timeout_retry(stream)
    answer = _attempt(stream, cluster)
    if isinstance(answer, Reply):
        stream.respond(answer)
    flush()


def on_connected(stream: Stream, connection: Carrier) -> None:
    stream.waiting = False
    if stream.has_extras and (stream.ends_in_tcp or stream.attempt > 1):
        stream.dialing = None
        if stream.attempt > 1:
            stream.tried_at = monotonic()
    stream.up = stream.last_up = connection
    if connection.host.monitor is not None:
        connection.host.monitor.on_connected()
    timed = stream.has_extras and (stream.per_try_timeout_s or stream.idle_try_s)
    if timed and stream.request_done:
        deadlines.begin_attempt(stream, monotonic())
    if stream.down.is_full(stream):
        connection.pause_reading(stream)
    _send_request(stream, connection)


def _send_request(stream: Stream, connection: Carrier) -> None:
    """What there is of the request."""
    entry = stream.route
    assert entry is not None
    connection.cluster.stats.upstream_rq_total.value += 1
    if stream.has_extras:
        for one in stream.counted:
            one.upstream_rq_total.value += 1
        if stream.traced is not None:
            stream.traced.on_attempt(stream)
    if entry.before_send is not None:
        entry.before_send(stream)
    done = stream.request_done
    if done and not stream.body and stream.trailers is None:
        connection.send_request(stream, stream.request, True)
        return
    holds = stream.holds  # until the upstream agrees, which may be at once
    if not holds:  # before anything is sent: that may be too much again
        on_writable(stream, True)
    connection.send_request(stream, stream.request, False)
    if holds:
        return
    if stream.body is not None:
        for data in stream.body:
            connection.send_data(stream, data)
        if not stream.retries_left and not stream.hedges and not stream.keeps_body:
            stream.body = None
        elif stream.rule is not None and _is_too_long(stream):
            stream.body = None
            retries.renounce(stream)
    if done:
        connection.end_request(stream, stream.trailers)


# --------------------------------------------------------------------------- the request's body


def pass_request_data(stream: Stream, data: bytes) -> None:
    if stream.shadows:
        mirror.send_data(stream, data)
    if stream.up is not None and not stream.holds:
        stream.up.send_data(stream, data)
    if stream.body is not None:
        stream.body.append(data)
        stream.body_bytes += len(data)
        bound_body(stream)


def await_filter(stream: Stream) -> None:
    """A filter waits: it may want more of the body than the last one that did."""
    stream.body = stream.body or []
    stream.down.resume_reading(stream)
    bound_body(stream)


def bound_body(stream: Stream) -> None:
    """Too much to keep: give up on retries if it is on its way, else stop reading."""
    cluster = stream.cluster
    if cluster is None:  # a filter waits
        if stream.body_bytes > (stream.buffer_limit_bytes or stream.manager.buffer_limit_bytes):
            stream.down.pause_reading(stream)
        return
    if not _is_too_long(stream):
        return
    if stream.up is not None and not stream.holds:
        stream.body = None
        retries.renounce(stream)
    else:
        stream.down.pause_reading(stream)


def _is_too_long(stream: Stream) -> bool:
    """For its body to be kept."""
    entry, limit_bytes = stream.route, stream.manager.buffer_limit_bytes
    if entry is not None and entry.buffer_limit_bytes is not None:
        limit_bytes = min(limit_bytes, entry.buffer_limit_bytes)
    return stream.body_bytes > limit_bytes


def pass_request_end(stream: Stream, trailers: Headers | None) -> None:
    stream.trailers = trailers
    if stream.cluster is None:
        return
    _start_clock(stream)
    if stream.shadows:
        mirror.end(stream, trailers)
    if stream.up is not None and (stream.per_try_timeout_s or stream.idle_try_s):
        deadlines.begin_attempt(stream, stream.sent_at)
    if stream.up is not None and not stream.holds:
        stream.up.end_request(stream, trailers)


def on_writable(stream: Stream, writable: bool) -> None:
    """The upstream's buffer is full: stop reading from the client, and the other way about."""
    if stream.up_full == writable:
        stream.up_full = not writable
    if not writable:
        stream.down.pause_reading(stream)
    elif not stream.shadows or not mirror.hold_up(stream):
        stream.down.resume_reading(stream)


def on_downstream_full(stream: Stream, full: bool) -> None:
    """The client does not keep up, or does again: no more, or more, from the upstream."""
    for hedge in stream.hedges:
        _pause(hedge.up, hedge, full)
    if stream.up is not None:
        _pause(stream.up, stream, full)


def _pause(connection: Carrier, exchange: Exchange, full: bool) -> None:
    if full:
        connection.pause_reading(exchange)
    else:
        connection.resume_reading(exchange)


# --------------------------------------------------------------------------- the answer


def on_informational(stream: Stream, status: int, headers: Headers) -> None:
    """1xx of the upstream: they end here unless `proxy_100_continue` says otherwise."""
    assert stream.cluster is not None
    stream.cluster.stats.statuses.add(status)
    if stream.manager.proxies_informational:
        stream.manager.stats.statuses.add(status)
        stream.down.send_informational(stream, status, headers)


def on_response(stream: Stream, response: Response, data: bytes, end: bool) -> None:
    cluster, host = stream.cluster, stream.host
    assert cluster is not None and host is not None
    now = stream.answered_at = monotonic()
    cluster.on_response(host, stream.request, response, now)
    if stream.has_extras and _is_not_kept(stream, response, data, end):
        return
    keep(stream, response, data, end, now)


def _is_not_kept(stream: Stream, response: Response, data: bytes, end: bool) -> bool:
    """It is tried again, or others may do better."""
    traced = stream.traced
    if traced is not None:
        traced.on_answer(response)
    if stream.rule is None:
        return False
    if retries.after_response(stream, response, end) or _others_may_do_better(stream):
        if traced is not None and (data or not end):  # more than its head, which nobody wants
            traced.on_cancel()
        if not end and stream.up is not None:
            stream.up.abandon(stream)
        _leave(stream)
        return True
    if stream.hedges:
        _stop_hedges(stream)
    return False


def keep(stream: Stream, response: Response, data: bytes, end: bool, now: float) -> None:
    """This is the answer that the client gets."""
    cluster, entry = stream.cluster, stream.route
    assert cluster is not None and entry is not None
    status = response.status
    if stream.has_extras and _goes_elsewhere(stream, entry, response, end):
        return
    cluster.stats.statuses.add(status)
    stream.try_deadline = NEVER
    if stream.has_extras:
        extra_stats.charge(stream, status)
        if stream.idle_try_s:  # only the silences of the attempt are measured from now on
            deadlines.on_progress(stream, now)
    if stream.sent_at:  # Envoy: an answer before the end of the request has no time of its own
        time_ms = (now - stream.sent_at) * 1000
        cluster.stats.upstream_rq_time.record(time_ms)
        if stream.has_extras:
            for one in stream.counted:
                one.upstream_rq_time.record(time_ms)
        if entry.tells_time:
            stream.service_ms = int(time_ms)
    if end:
        stream.up = None
    if stream.has_extras and stream.holds and tunnel.agrees(stream.request.upgrade, status):
        stream.deliver(response, data, end)
        tunnel.open_up(stream)
        return
    stream.body = None
    stream.deliver(response, data, end)


def _goes_elsewhere(stream: Stream, entry: RouteEntry, response: Response, end: bool) -> bool:
    """Is this an answer that the client does not get as it is?"""
    if stream.retry_held:
        retries.release(stream)
    if stream.tunnels and tunnel.was_refused(stream, response):
        return True
    redirects = entry.internal_redirect
    if redirects is None or response.status not in redirects.codes:
        return False
    return redirects.follow(stream, response, end)


def on_data(stream: Stream, data: bytes) -> None:
    if stream.idle_try_s:
        deadlines.on_progress(stream, monotonic())
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
    if stream.traced is not None:
        stream.traced.on_loss(reason)
    _leave(stream)
    if reason != retry.OVERFLOW:
        cluster.on_local_error(host, monotonic())
    if stream.responded:
        why = reason.replace(" ", "_")
        stream.flag(reply.reset_flag(reason), f"upstream_reset_after_response_started{{{why}}}")
        stream.down.abort(stream)
        return
    if not retries.after_reset(stream, reason, sent):
        lose(stream, reason, detail)


def lose(stream: Stream, reason: str, detail: str) -> None:
    """An attempt was lost for good: the client hears of it unless another one is under way."""
    cluster = stream.cluster
    assert cluster is not None
    answer = reply.upstream_reset(reason, detail, stream.attempt > 1)
    cluster.stats.statuses.add(answer.status)
    extra_stats.charge(stream, answer.status)
    if not is_trying(stream):
        stream.respond(answer)


# --------------------------------------------------------------------------- the end


def is_trying(stream: Stream) -> bool:
    """An answer may still come, of an attempt or a retry."""
    waits = stream.retrying is not None or stream.waiting or bool(stream.hedges)
    return waits or (stream.up is not None and not stream.responded)


def _others_may_do_better(stream: Stream) -> bool:
    return stream.could_not_retry and (bool(stream.hedges) or stream.retrying is not None)


def stop(stream: Stream) -> None:
    """Lets go of whatever is under way."""
    if stream.retrying is not None:
        stream.retrying.cancel()
        stream.retrying = None
    if stream.hedges:
        _stop_hedges(stream)
    if stream.up is not None or stream.waiting:
        abandon(stream)


def _stop_hedges(stream: Stream) -> None:
    for hedge in stream.hedges:
        hedge.abandon()


def give_up(stream: Stream) -> None:
    """No more attempts."""
    stop(stream)
    retries.release(stream)
    stream.body = None


def abandon(stream: Stream) -> None:
    up, host, cluster = stream.up, stream.host, stream.cluster
    assert host is not None and cluster is not None
    if stream.traced is not None:
        stream.traced.on_cancel()
    if stream.dialing is not None:
        stream.dialing.abandon(stream)
        stream.dialing = None
    elif stream.waiting:
        cluster.cancel_pending(host, stream.breaker, stream)
    _leave(stream)
    if up is not None:
        up.abandon(stream)


def _leave(stream: Stream) -> None:
    """The attempt is over."""
    stream.up = None
    stream.waiting = False
    if stream.has_extras:
        if stream.traced is not None:
            stream.traced.on_attempt_end()
        deadlines.end_attempt(stream)
