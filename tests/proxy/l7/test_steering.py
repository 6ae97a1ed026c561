"""What a client inside the mesh may say about timeouts, retries and hedging."""

from __future__ import annotations

from typing import cast

import pytest

from proxy.config.model import RetryPolicy
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.l7 import steering
from proxy.l7.stream import Stream
from proxy.upstream.retry import RetryRule


class Asked:
    """Of a stream what steering touches."""

    timeout_s = 15.0
    per_try_timeout_s = 0.0
    timeout_status = 504
    may_hedge = False
    sent_at = 100.0
    timeout_retry = False

    def __init__(self, **headers: str) -> None:
        pairs = [(b"accept", b"*/*")]
        pairs += [
            (name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()
        ]
        self.request = Request(b"GET", b"/", b"a", Headers.of(pairs))

    @property
    def left(self) -> list[bytes]:
        return [name for name, _ in self.request.headers]


def asked(**headers: str) -> Stream:
    return cast(Stream, Asked(**headers))


def test_times_are_taken_and_removed() -> None:
    stream = asked(
        x_envoy_upstream_rq_timeout_ms="2500",
        x_envoy_upstream_rq_per_try_timeout_ms="300",
        x_envoy_upstream_rq_timeout_alt_response="1",
        x_envoy_hedge_on_per_try_timeout="true",
    )
    steering.take_times(stream)
    assert (stream.timeout_s, stream.per_try_timeout_s) == (2.5, 0.3)
    assert stream.timeout_status == 204 and stream.may_hedge
    assert cast(Asked, stream).left == [b"accept"]


def test_of_the_times_a_route_may_give_only_what_its_own_is_called() -> None:
    """The others come too late to be heard; all but the whole timeout are taken out (Envoy)."""
    stream = asked(
        x_envoy_upstream_rq_timeout_ms="2500",
        x_envoy_upstream_rq_per_try_timeout_ms="300",
        x_envoy_upstream_rq_timeout_alt_response="1",
        x_envoy_hedge_on_per_try_timeout="true",
    )
    assert steering.take_retries(stream, None) is None
    assert (stream.timeout_s, stream.per_try_timeout_s) == (15.0, 0.0)
    assert stream.timeout_status == 204 and not stream.may_hedge
    assert cast(Asked, stream).left == [b"accept", b"x-envoy-upstream-rq-timeout-ms"]


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5"])
def test_what_is_no_number_is_not_heard(value: str) -> None:
    stream = asked(x_envoy_upstream_rq_timeout_ms=value, x_envoy_hedge_on_per_try_timeout=value)
    steering.take_times(stream)
    assert stream.timeout_s == 15.0 and not stream.may_hedge
    assert cast(Asked, stream).left == [b"accept"]


def test_retries_of_nobody() -> None:
    assert steering.take_retries(asked(), None) is None
    assert steering.take_retries(asked(x_envoy_max_retries="3"), None) is None


def test_retries_of_the_client_alone() -> None:
    stream = asked(
        x_envoy_retry_on="5xx, retriable-status-codes, retriable-headers, cancelled",
        x_envoy_retry_grpc_on="unavailable, 5xx",
        x_envoy_max_retries="4",
        x_envoy_retriable_status_codes="418, odd, 419",
        x_envoy_retriable_header_names="X-Again",
    )
    rule = steering.take_retries(stream, None)
    assert rule is not None and rule.policy.num_retries == 4
    words = {"5xx", "retriable-status-codes", "retriable-headers", "unavailable"}
    assert rule.policy.retry_on == words
    assert rule.policy.retriable_status_codes == {418, 419}
    again = Response(200, Headers.of([(b"x-again", b"")]))
    assert rule.on_response(again) and not rule.on_response(Response(200, Headers()))
    assert cast(Asked, stream).left == [b"accept"]


def test_retries_of_the_client_come_on_top_of_the_route_s() -> None:
    rule = RetryRule(RetryPolicy(frozenset({"reset"}), num_retries=2))
    steered = steering.take_retries(asked(x_envoy_retry_on="gateway-error"), rule)
    assert steered is not None
    assert steered.policy.retry_on == {"reset", "gateway-error"}
    assert steered.policy.num_retries == 2
    assert steering.take_retries(asked(), rule) is rule


@pytest.mark.parametrize(
    "now, per_try_s, hedges, expected",
    [
        (100.0, 0.0, False, b"15000"),
        (104.5, 0.0, False, b"10500"),
        (104.5, 2.0, False, b"2000"),
        (114.5, 2.0, False, b"500"),
        (104.5, 2.0, True, b"10500"),
        (120.0, 0.0, False, b"1"),
    ],
)
def test_the_time_that_a_retry_has_left(
    now: float, per_try_s: float, hedges: bool, expected: bytes
) -> None:
    stream = asked()
    stream.per_try_timeout_s, stream.may_hedge = per_try_s, hedges
    steering.tell_time_left(stream, now)
    assert stream.request.headers.get(b"x-envoy-expected-rq-timeout-ms") == expected


def test_a_route_without_a_timeout_tells_none() -> None:
    stream = asked()
    stream.timeout_s = 0.0
    steering.tell_time_left(stream, 1.0)
    assert cast(Asked, stream).left == [b"accept"]
