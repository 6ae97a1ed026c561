"""How long a stream may take upstream: in all, for each attempt, and between two signs of life.

Deadlines are numbers that the worker's sweep looks at; `try_deadline` is the next of an attempt's
two. Those of an attempt begin when the whole request is here and it has a connection (Envoy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.filters.api import Reply
from proxy.l7 import extra_stats, reply, retries
from proxy.l7.durations import max_stream_duration_s
from proxy.upstream import retry

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

NEVER: Final = float("inf")


def begin_stream(stream: Stream) -> None:
    """`max_stream_duration`, of the manager or of the route."""
    lasts_s = max_stream_duration_s(stream, stream.manager.max_stream_duration_s)
    if lasts_s:
        stream.over_at = stream.started + lasts_s


def begin_attempt(stream: Stream, now: float) -> None:
    """`per_try_timeout` and `per_try_idle_timeout`."""
    per_try_s, idle_s = stream.per_try_timeout_s, stream.idle_try_s
    if not per_try_s and not idle_s:
        return
    stream.idle_until = now + idle_s if idle_s else NEVER
    stream.try_deadline = min(now + per_try_s if per_try_s else NEVER, stream.idle_until)
    stream.timeout_told = False


def end_attempt(stream: Stream) -> None:
    stream.try_deadline = stream.idle_until = NEVER


def on_progress(stream: Stream, now: float) -> None:
    """The upstream has sent something."""
    stream.try_deadline = stream.idle_until = now + stream.idle_try_s


def on_deadline(stream: Stream, now: float) -> None:
    """The sweep found a deadline behind `now`."""
    if now >= stream.over_at:
        stream.over_at = NEVER
        stream.manager.stats.downstream_rq_max_duration_reached.value += 1
        stream.respond(reply.STREAM_OVER if stream.request_done else reply.UPLOAD_OVER)
        return
    if stream.cluster is None:
        return
    if now >= stream.deadline:
        _on_timeout(stream, now)
    elif now >= stream.idle_until:
        _on_idle(stream, now)
    elif stream.may_hedge:
        _on_soft_timeout(stream, now)
    else:
        assert stream.cluster is not None
        stream.cluster.stats.upstream_rq_per_try_timeout.value += 1
        _on_attempt_over(stream, reply.PER_TRY_TIMEOUT, now)


def _on_timeout(stream: Stream, now: float) -> None:
    """The route's timeout: whatever is under way is over, and counted once each."""
    stream.deadline = stream.try_deadline = stream.idle_until = NEVER
    cluster = stream.cluster
    assert cluster is not None
    hosts = [hedge.host for hedge in stream.hedges]
    if stream.host is not None and (stream.up is not None or stream.waiting):
        hosts.append(stream.host)
        if not stream.responded:
            _tell(stream, now)
    for host in hosts:
        cluster.stats.upstream_rq_timeout.value += 1
        extra_stats.count(stream, "upstream_rq_timeout")
        host.rq_timeout += 1
        if not stream.responded:
            cluster.stats.statuses.add(stream.timeout_status)
            extra_stats.charge(stream, stream.timeout_status)
            host.rq_error += 1
    stream.respond(_with_status(stream, reply.ROUTE_TIMEOUT))


def _tell(stream: Stream, now: float) -> None:
    """To outlier detection, once an attempt."""
    if not stream.timeout_told and stream.host is not None and stream.host.monitor is not None:
        stream.host.monitor.on_local_error(504, now)
    stream.timeout_told = True


def _with_status(stream: Stream, answer: Reply) -> Reply:
    """x-envoy-upstream-rq-timeout-alt-response wants 204 in place of 504."""
    if stream.timeout_status == answer.status:
        return answer
    return Reply(stream.timeout_status, b"", answer.flag, answer.detail)


def _on_idle(stream: Stream, now: float) -> None:
    assert stream.cluster is not None
    if stream.may_hedge:
        _on_soft_timeout(stream, now)
        return
    stream.cluster.stats.upstream_rq_per_try_idle_timeout.value += 1
    _on_attempt_over(stream, reply.PER_TRY_IDLE_TIMEOUT, now)


def _on_attempt_over(stream: Stream, answer: Reply, now: float) -> None:
    end_attempt(stream)
    host = stream.host
    assert host is not None
    host.rq_timeout += 1
    host.rq_error += 1
    _tell(stream, now)
    sent = stream.up is not None
    stream.abandon()
    if retries.after_reset(stream, retry.PER_TRY_TIMEOUT, sent):
        stream.timeout_retry = True
        return
    if not stream.responded:
        assert stream.cluster is not None
        stream.cluster.stats.statuses.add(stream.timeout_status)
        extra_stats.charge(stream, stream.timeout_status)
    stream.respond(_with_status(stream, answer))


def _on_soft_timeout(stream: Stream, now: float) -> None:
    """Hedging: the attempt goes on, and another one is made beside it if one may be."""
    end_attempt(stream)
    if stream.responded:
        return
    _tell(stream, now)
    if retries.hedge(stream):
        stream.timeout_retry = True
        stream.hand_to_hedge()
