"""What may be tried again, after how long, and how much may be in flight: tables."""

from __future__ import annotations

from random import Random

import pytest

from proxy.config.model import RetryBackOff, RetryPolicy, Thresholds
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.upstream import retry
from proxy.upstream.breaker import Breaker
from proxy.upstream.retry import RetryRule, back_off_s


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
    retry.OVERFLOW,
]


@pytest.mark.parametrize(
    "on, yes",
    [
        ("5xx", LOST[:5]),
        ("gateway-error", LOST[:5]),
        ("reset", LOST[:5]),
        ("connect-failure", LOST[:2]),
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


@pytest.mark.parametrize(
    "attempt, ceiling_s", [(1, 0.025), (2, 0.075), (3, 0.175), (4, 0.25), (5, 0.25), (60, 0.25)]
)
def test_back_off(attempt: int, ceiling_s: float) -> None:
    """Envoy: [0, (2^N - 1) * base), capped."""
    random = Random(attempt)
    waits = [back_off_s(RetryBackOff(), attempt, random) for _ in range(500)]
    assert all(0 <= wait <= ceiling_s for wait in waits)
    assert max(waits) > 0.9 * ceiling_s and min(waits) < 0.1 * ceiling_s


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
        ],
    )
    def test_retries_as_a_budget(self, requests: int, retries: int, allowed: bool) -> None:
        """20 % of what is in flight, and three in any case; max_retries does not count then."""
        breaker = Breaker(Thresholds(max_retries=0, budget_percent=20.0, budget_min_concurrency=3))
        breaker.requests, breaker.retries = requests, retries
        assert breaker.retry_allowed() is allowed

    def test_new_limits_keep_what_is_in_flight(self) -> None:
        breaker = Breaker(Thresholds())
        breaker.requests = breaker.retries = 5
        breaker.limit(Thresholds(max_requests=1, max_retries=9))
        assert (breaker.requests, breaker.max_requests) == (5, 1)
        assert breaker.retry_allowed()
