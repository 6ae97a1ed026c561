"""Puts a request of the proxy's own to a cluster: an exchange without a client.

It shares the cluster's connections, limits and statistics with everybody's requests. The answer is
kept whole, up to a bound, and told once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from time import monotonic
from typing import Protocol

from proxy.config.model import RetryBackOff, RetryPolicy
from proxy.http.headers import Headers
from proxy.http.inquiry import Asking, Inquiry, Outcome, Repeats, Told
from proxy.http.message import Request, Response
from proxy.upstream import retry
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool import Carrier
from proxy.upstream.retry import RetryRule

PRIORITY = "DEFAULT"
TIMEOUT = "timeout"
EXPECTED_TIMEOUT = b"x-envoy-expected-rq-timeout-ms"


class Timer(Protocol):
    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Timer]


class Asker:
    """`ask` for whoever is built with it. clusters: the running ones, by name."""

    def __init__(self, clusters: Mapping[str, Cluster], call_later: CallLater) -> None:
        self._clusters = clusters
        self._call_later = call_later

    def ask(self, inquiry: Inquiry, told: Told) -> Asking:
        cluster = self._clusters.get(inquiry.cluster)
        question = Question(inquiry, told, self._call_later)
        if cluster is None:
            question.fail(503, f"there is no cluster `{inquiry.cluster}`")
        else:
            question.start(cluster)
        return question


class Question:
    """One inquiry with all its attempts (`pool.Exchange`)."""

    __slots__ = (
        "_body",
        "_call_later",
        "_cluster",
        "_headers",
        "_host",
        "_inquiry",
        "_over",
        "_retries",
        "_retry",
        "_sent_at",
        "_size",
        "_status",
        "_timer",
        "_told",
        "_up",
        "breaker",
        "request",
        "up_id",
    )  # fmt: skip
    breaker: Breaker

    def __init__(self, inquiry: Inquiry, told: Told, call_later: CallLater) -> None:
        self.request: Request = inquiry.request
        self.up_id = 0
        self._inquiry = inquiry
        self._told = told
        self._call_later = call_later
        self._cluster: Cluster | None = None
        self._host: Host | None = None
        self._up: Carrier | None = None
        self._timer: Timer | None = None
        self._retry: Timer | None = None
        self._retries = 0
        self._sent_at = 0.0
        self._over = False
        self._clear()

    def _clear(self) -> None:
        self._status = 0
        self._headers = Headers()
        self._body: list[bytes] = []
        self._size = 0

    def start(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.breaker = cluster.breakers[PRIORITY]
        headers, timeout_s = self.request.headers, self._inquiry.timeout_s
        if self._inquiry.tells:
            headers.set(b"x-envoy-internal", b"true")
            if timeout_s:
                headers.set(EXPECTED_TIMEOUT, b"%d" % (timeout_s * 1000))
        if self._inquiry.tells and self._inquiry.forwards:
            _forward(headers)
        if timeout_s:
            self._timer = self._call_later(timeout_s, self._on_timeout)
        self._attempt()

    def _attempt(self) -> None:
        cluster = self._cluster
        assert cluster is not None
        self._retry = None
        self._clear()
        host = self._host = cluster.pick() if cluster.pick_for is None else cluster.pick_for(None)
        if host is None:
            cluster.stats.upstream_cx_none_healthy.value += 1
            self._refused("no healthy upstream")
        elif not cluster.lease(host, self.breaker, self):
            self._refused("the cluster has as much in flight as it may")

    def _refused(self, why: str) -> None:
        assert self._cluster is not None
        self._host = None
        self._cluster.stats.statuses.add(503)
        self.fail(503, why)

    # ------------------------------------------------------------------ ends

    def cancel(self) -> None:
        if self._over:
            return
        self._finish()
        self._let_go()

    def fail(self, status: int, why: str) -> None:
        self._end(Outcome(status, failure=why))

    def _end(self, outcome: Outcome) -> None:
        self._finish()
        self._told(outcome)

    def _finish(self) -> None:
        self._over = True
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        self._timer = self._retry = None

    def _let_go(self) -> None:
        """Of the connection, or of the place in the queue for one."""
        cluster, host, up = self._cluster, self._host, self._up
        self._up = self._host = None
        if up is not None:
            up.abandon(self)
        elif cluster is not None and host is not None:
            cluster.cancel_pending(host, self.breaker, self)

    def _on_timeout(self) -> None:
        cluster = self._cluster
        assert cluster is not None
        self._timer = None
        if self._host is not None:
            cluster.stats.upstream_rq_timeout.value += 1
            cluster.on_local_error(self._host, monotonic(), 504)
        cluster.stats.statuses.add(504)
        self._let_go()
        self.fail(504, TIMEOUT)

    def _again(self) -> bool:
        """True: another attempt follows what went wrong."""
        cluster, repeats = self._cluster, self._inquiry.repeats
        assert cluster is not None
        if self._retries >= repeats.most:
            cluster.stats.upstream_rq_retry_limit_exceeded.value += 1
            return False
        if not self.breaker.retry_allowed(1):
            cluster.stats.upstream_rq_retry_overflow.value += 1
            return False
        policy = RetryBackOff(repeats.base_interval_s, repeats.max_interval_s)
        wait_s = retry.back_off_s(policy, self._retries, cluster.random)
        self._retries += 1
        cluster.stats.upstream_rq_retry.value += 1
        cluster.stats.upstream_rq_retry_backoff_exponential.value += 1
        self._retry = self._call_later(wait_s, self._attempt)
        return True

    # ------------------------------------------------------------------ what the connection tells

    def on_connected(self, connection: Carrier) -> None:
        self._up = connection
        connection.cluster.stats.upstream_rq_total.value += 1
        self._sent_at = monotonic()
        body = self._inquiry.body
        connection.send_request(self, self.request, not body)
        if body:
            connection.send_data(self, body)
            connection.end_request(self, None)

    def on_informational(self, status: int, headers: Headers) -> None:
        return

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        assert self._up is not None and self._host is not None
        now, cluster = monotonic(), self._up.cluster
        cluster.on_response(self._host, self.request, response, now)
        cluster.stats.statuses.add(response.status)
        cluster.stats.upstream_rq_time.record((now - self._sent_at) * 1000)
        self._status, self._headers = response.status, response.headers
        if data:
            self.on_data(data)
        if end and not self._over:
            self.on_end(None)

    def on_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._inquiry.max_answer_bytes:
            self._let_go()
            self.fail(503, f"an answer of more than {self._inquiry.max_answer_bytes} bytes")
            return
        self._body.append(data)

    def on_end(self, trailers: Headers | None) -> None:
        self._up = self._host = None
        rule = _rule(self._inquiry.repeats)
        if rule is not None and rule.on_response(Response(self._status, self._headers)):
            if self._again():
                return
        elif self._retries:
            assert self._cluster is not None
            self._cluster.stats.upstream_rq_retry_success.value += 1
        self._end(Outcome(self._status, self._headers, b"".join(self._body), trailers))

    def on_reset(self, reason: str, detail: str = "") -> None:
        cluster = self._cluster
        assert cluster is not None
        if self._host is not None and reason != retry.OVERFLOW:
            cluster.on_local_error(self._host, monotonic())
        sent = self._up is not None
        self._up = self._host = None
        rule = _rule(self._inquiry.repeats)
        if rule is not None and rule.on_reset(reason, sent) and self._again():
            return
        cluster.stats.statuses.add(503)
        self.fail(503, f"{reason}: {detail}" if detail else reason)

    def on_writable(self, writable: bool) -> None:
        """All of it was handed over at once."""


@lru_cache(64)
def _rule(repeats: Repeats) -> RetryRule | None:
    """None where nothing is tried again."""
    if not repeats.most:
        return None
    return RetryRule(RetryPolicy(repeats.retry_on, repeats.most))


def tell_origin(headers: Headers) -> None:
    """That it is a proxy's own, and which machine it comes from."""
    headers.set(b"x-envoy-internal", b"true")
    _forward(headers)


def _forward(headers: Headers) -> None:
    """A request of the proxy's own says where it comes from (Envoy's async client)."""
    known, own = headers.joined(b"x-forwarded-for"), local_address()
    headers.set(b"x-forwarded-for", b"%b,%b" % (known, own) if known else own)


@cache
def local_address() -> bytes:
    """This machine's, as others see it. No packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return b"127.0.0.1"
        name: tuple[str, int] = probe.getsockname()
        return name[0].encode()
