"""What may be tried again, after how long, and how much may be in flight: tables."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from proxy.config.model import (
    RateLimitedBackOff,
    ResetHeader,
    RetryBackOff,
    RetryPolicy,
    Thresholds,
)
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.stats import Stats
from proxy.upstream import retry
from proxy.upstream.breaker import Breaker
from proxy.upstream.retry import RetryRule, back_off_s, rate_limited_s
from tests.support.hosts import GET, a_host


def rule(*on: str, codes: tuple[int, ...] = ()) -> RetryRule:
    return RetryRule(RetryPolicy(frozenset(on), retriable_status_codes=frozenset(codes)))


def answer(status: int, **headers: str) -> Response:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Response(status, Headers.of(pairs))


@pytest.mark.parametrize(
    "on, yes, no",
    [
        ("5xx", [500, 501, 502, 503, 504, 599], [200, 404, 409, 499]),
        ("gateway-error", [502, 503, 504], [500, 501, 505, 200]),
        ("retriable-4xx", [409], [400, 404, 429, 500]),
        ("reset", [], [500, 503, 200]),
        ("connect-failure", [], [500, 503, 200]),
        ("retriable-status-codes", [418, 503], [500, 502, 200]),
    ],
)
def test_statuses(on: str, yes: list[int], no: list[int]) -> None:
    one = rule(on, codes=(418, 503))
    assert [status for status in yes + no if one.on_response(answer(status))] == yes


def test_codes_count_only_with_their_word() -> None:
    assert not rule("reset", codes=(418,)).on_response(answer(418))


@pytest.mark.parametrize(
    "word, status",
    [
        ("cancelled", "1"),
        ("deadline-exceeded", "4"),
        ("resource-exhausted", "8"),
        ("internal", "13"),
        ("unavailable", "14"),
    ],
)
def test_grpc_statuses(word: str, status: str) -> None:
    one = rule(word)
    assert one.on_response(answer(200, grpc_status=status))
    assert not one.on_response(answer(200, grpc_status="0"))
    assert not one.on_response(answer(200, grpc_status="2"))
    assert not one.on_response(answer(200))


def test_headers() -> None:
    policy = RetryPolicy(frozenset({"retriable-headers"}))
    one = RetryRule(policy, (lambda headers: b"x-again" in headers,))
    assert one.on_response(answer(200, x_again="1")) and not one.on_response(answer(200))
    assert not RetryRule(RetryPolicy(frozenset({"5xx"})), one.headers).on_response(
        answer(200, x_again="1")
    )


LOST = [
    retry.CONNECT_FAILURE,
    retry.CONNECT_TIMEOUT,
    retry.CONNECTION_TERMINATION,
    retry.PROTOCOL_ERROR,
    retry.PER_TRY_TIMEOUT,
    retry.REMOTE_RESET,
    retry.REFUSED,
    retry.OVERFLOW,
]
LIMITED = RateLimitedBackOff(
    (ResetHeader("retry-after"), ResetHeader("x-reset", "UNIX_TIMESTAMP")), 30.0
)


@pytest.mark.parametrize(
    "on, yes",
    [
        ("5xx", LOST[:7]),
        ("gateway-error", LOST[:7]),
        ("reset", LOST[:7]),
        ("connect-failure", LOST[:2]),
        ("refused-stream", [retry.REFUSED]),
        ("retriable-status-codes", []),
        ("retriable-4xx", []),
        ("unavailable", []),
    ],
)
def test_lost_attempts(on: str, yes: list[str]) -> None:
    assert [reason for reason in LOST if rule(on).on_reset(reason, sent=True)] == yes


def test_reset_before_request() -> None:
    one = rule("reset-before-request")
    assert one.on_reset(retry.CONNECTION_TERMINATION, sent=False)
    assert not one.on_reset(retry.CONNECTION_TERMINATION, sent=True)
    assert not one.on_reset(retry.OVERFLOW, sent=False)
    assert one.on_reset(retry.CONNECT_FAILURE, sent=False)


def test_rate_limited_answers_are_a_word_of_their_own() -> None:
    limited = answer(503, x_envoy_ratelimited="true")
    assert not rule("5xx", "gateway-error").on_response(limited)
    assert rule("envoy-ratelimited").on_response(limited)
    assert not rule("envoy-ratelimited").on_response(answer(503))


@pytest.mark.parametrize(
    "base_s, max_s, intervals_ms",
    [
        (0.025, 0.25, [25, 50, 100, 200, 250, 250]),
        (0.1, 0.1, [100, 100]),
        (0.001, 0.01, [1, 2, 4, 8, 10, 10]),
        (0.06, 0.25, [60, 120, 240, 250]),
        (0.13, 0.25, [130, 250]),
    ],
)
def test_back_off(base_s: float, max_s: float, intervals_ms: list[int]) -> None:
    """Envoy: random() % interval, which doubles up to the maximum. Each millisecond below it comes
    about as often (chi-squared, fixed seed)."""
    for before, interval_ms in enumerate(intervals_ms):
        random = Random(before)
        waits = Counter(
            round(1000 * back_off_s(RetryBackOff(base_s, max_s), before, random))
            for _ in range(40 * interval_ms)
        )
        assert set(waits) <= set(range(interval_ms))
        chi = sum((waits[ms] - 40) ** 2 / 40 for ms in range(interval_ms))
        assert chi < interval_ms + 5 * (2 * interval_ms) ** 0.5


@pytest.mark.parametrize(
    "values, low_ms, high_ms",
    [
        ({"retry_after": "2"}, 2000, 2999),
        ({"x_reset": "1010"}, 10000, 14999),
        ({"retry_after": "31", "x_reset": "1001"}, 1000, 1499),
        ({"retry_after": "soon", "x_reset": "1001"}, 1000, 1499),
    ],
)
def test_rate_limited_back_off(values: dict[str, str], low_ms: int, high_ms: int) -> None:
    """Envoy: the interval and up to half of it again."""
    headers = answer(503, **values).headers
    waits = [rate_limited_s(LIMITED, headers, 1000.0, Random(seed)) or 0.0 for seed in range(300)]
    assert min(waits) >= low_ms / 1000 and max(waits) <= high_ms / 1000
    assert max(waits) - min(waits) > 0.4 * (high_ms - low_ms) / 1000


@pytest.mark.parametrize(
    "values",
    [{}, {"retry_after": "31"}, {"retry_after": "0"}, {"x_reset": "999"}, {"x_reset": "1e3"}],
)
def test_no_rate_limited_back_off(values: dict[str, str]) -> None:
    assert rate_limited_s(LIMITED, answer(503, **values).headers, 1000.0, Random(1)) is None


def test_requests_that_may_be_tried_again() -> None:
    policy = RetryPolicy(frozenset({"5xx"}))
    only = RetryRule(policy, (), (lambda request: request.method == b"GET",))
    post = Request(b"POST", b"/", b"a", Headers())
    assert only.allows(GET) and not only.allows(post)
    assert RetryRule(policy).allows(post)


def test_hosts_that_a_retry_avoids() -> None:
    tried, canary, old, good = (a_host(number) for number in range(1, 5))
    canary.metadata = {"envoy.lb": {"canary": True}}
    old.metadata = {"envoy.lb": {"stage": "old", "zone": "a"}}
    policy = RetryPolicy(
        frozenset({"5xx"}),
        previous_hosts=True,
        omit_canary_hosts=True,
        omit_host_metadata=({"stage": "old"}, {}),
    )
    avoids = RetryRule(policy).avoids
    assert [avoids(host, [tried]) for host in (tried, canary, old, good)] == [1, 1, 1, 0]
    lenient = RetryRule(RetryPolicy(frozenset({"5xx"}))).avoids
    assert not any(lenient(host, [tried]) for host in (tried, canary, old, good))


class TestBreaker:
    def test_retries_as_a_count(self) -> None:
        breaker = Breaker(Thresholds(max_retries=2))
        breaker.retries = 1
        assert breaker.retry_allowed()
        breaker.retries = 2
        assert not breaker.retry_allowed()

    @pytest.mark.parametrize(
        "requests, retries, allowed",
        [
            (0, 2, True),
            (0, 3, False),
            (10, 2, True),
            (10, 3, False),
            (50, 9, True),
            (50, 10, False),
            (54, 10, False),
            (55, 10, True),
        ],
    )
    def test_retries_as_a_budget(self, requests: int, retries: int, allowed: bool) -> None:
        """20 % of what is in flight, and three in any case; max_retries does not count then."""
        breaker = Breaker(Thresholds(max_retries=0, budget_percent=20.0, budget_min_concurrency=3))
        breaker.requests, breaker.retries = requests, retries
        assert breaker.retry_allowed() is allowed

    def test_gauges(self) -> None:
        stats = Stats()
        breaker = Breaker(Thresholds(max_requests=2, max_retries=1, max_pending_requests=5))
        breaker.derive_remaining(stats, "b.")
        breaker.requests, breaker.retries, breaker.pending = 2, 0, 3
        values = {name: gauge.value for name, gauge in stats.gauges.items()}
        names = ("rq_open", "rq_retry_open", "cx_open", "rq_pending_open")
        assert [breaker.is_open(name) for name in names] == [1, 0, 0, 0]
        assert values["b.remaining_rq"] == 0 and values["b.remaining_pending"] == 2
        assert values["b.remaining_retries"] == 1

    def test_new_limits_keep_what_is_in_flight(self) -> None:
        breaker = Breaker(Thresholds())
        breaker.requests = breaker.retries = 5
        breaker.limit(Thresholds(max_requests=1, max_retries=9))
        assert (breaker.requests, breaker.max_requests) == (5, 1)
        assert breaker.retry_allowed()
