"""Trying again: when, how often, with which body, and what is left of it afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.config import model
from tests.support.playbook import Playbook, cluster, listener, retries, route, routes, snapshot

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad"
LONGEST_BACK_OFF_S = 0.3


def playbook(
    *on: str, hosts: int = 1, breaker: model.Thresholds | None = None, **policy: Any
) -> Playbook:
    one = cluster(hosts=hosts, thresholds_default=breaker or model.Thresholds())
    return Playbook(route(retry=retries(*on, **policy)), clusters=[one])


def test_a_bad_answer_is_tried_again() -> None:
    with playbook("5xx") as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up << GET
        up >> BAD
        client << b""
        assert play.count("upstream_rq_retry") == 1
        play.tick(LONGEST_BACK_OFF_S)
        up << GET  # on the connection that is free again
        up >> OK
        client << OK
        assert play.logged == [(200, "", "via_upstream")]
        assert play.count("upstream_rq_retry_success") == 1


def test_the_last_answer_is_passed_on() -> None:
    with playbook("5xx", num_retries=2) as play:
        client = play.client()
        client >> GET
        up = play.accept()
        for _ in range(3):
            client << b""
            up << GET
            up >> BAD
            play.tick(LONGEST_BACK_OFF_S)
        client << BAD
        assert play.logged == [(503, "URX", "via_upstream")]
        assert play.count("upstream_rq_retry") == 2
        assert play.count("upstream_rq_retry_limit_exceeded") == 1


def test_an_unfinished_bad_answer_is_let_go() -> None:
    with playbook("5xx") as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up >> BAD[:-1]
        assert up.closed
        play.tick(LONGEST_BACK_OFF_S)
        play.accept() >> OK
        client << OK


@pytest.mark.parametrize("on", ["reset", "5xx", "gateway-error"])
def test_a_reset_is_tried_again(on: str) -> None:
    with playbook(on) as play:
        client = play.client()
        client >> GET
        play.accept().reset()
        play.tick(LONGEST_BACK_OFF_S)
        play.accept() >> OK
        client << OK


def test_a_refused_connection_is_tried_again() -> None:
    with playbook("connect-failure") as play:
        client = play.client()
        client >> GET
        play.opening().fail()
        play.tick(LONGEST_BACK_OFF_S)
        play.accept() >> OK
        client << OK


def test_what_is_not_in_the_policy_is_not() -> None:
    with playbook("connect-failure") as play:
        client = play.client()
        client >> GET
        play.accept().reset()
        assert client.take().startswith(b"HTTP/1.1 503 ")
        assert play.count("upstream_rq_retry") == 0


def test_the_body_is_sent_again() -> None:
    with playbook("5xx", num_retries=2) as play:
        client = play.client()
        client >> POST + b"abc"
        client >> b"def"
        for _ in range(2):
            up = play.upstream()
            up << POST + b"abcdef"
            up >> BAD
            play.tick(LONGEST_BACK_OFF_S)
        up << POST + b"abcdef"
        up >> OK
        client << OK


def test_a_chunked_body_is_sent_again() -> None:
    head = POST.replace(b"content-length: 6", b"transfer-encoding: chunked")
    with playbook("5xx") as play:
        client = play.client()
        client >> head + b"3\r\nabc\r\n0\r\n\r\n"
        up = play.accept()
        up << head + b"3\r\nabc\r\n0\r\n\r\n"
        up >> BAD
        play.tick(LONGEST_BACK_OFF_S)
        up << head + b"3\r\nabc\r\n0\r\n\r\n"
        up >> OK
        client << OK


def test_a_bad_answer_in_the_middle_of_the_body() -> None:
    """What has come is sent again, what comes during the back-off is kept, the rest follows."""
    with playbook("5xx") as play:
        client = play.client()
        client >> POST + b"ab"
        up = play.accept()
        up << POST + b"ab"
        up >> BAD
        assert up.closed
        client >> b"cd"
        play.tick(LONGEST_BACK_OFF_S)
        up = play.accept()
        up << POST + b"abcd"
        client >> b"ef"
        up << b"ef"
        up >> OK
        client << OK


def test_a_body_too_big_to_keep_is_not_tried_again() -> None:
    small = listener(routes(route(retry=retries("5xx"))), buffer_limit=4)
    with Playbook(config=snapshot([small], [cluster()])) as play:
        client = play.client()
        client >> POST
        up = play.accept()
        client >> b"abc"
        client >> b"def"
        up << POST + b"abcdef"
        up >> BAD
        client << BAD
        assert play.count("upstream_rq_retry") == 0


def test_reading_stops_while_nobody_takes_a_big_body() -> None:
    small = listener(routes(route()), buffer_limit=4)
    with Playbook(config=snapshot([small], [cluster()])) as play:
        client = play.client()
        client >> POST
        client >> b"abcde"
        assert not client.transport.reading
        client >> b"f"
        up = play.accept()
        assert client.transport.reading
        play.loop.advance()
        up << POST + b"abcdef"
        up >> OK
        client << OK


class TestHosts:
    def test_another_host_is_preferred(self) -> None:
        with playbook(
            "5xx", hosts=2, num_retries=5, previous_hosts=True, host_selection_retry_max_attempts=5
        ) as play:
            client = play.client()
            client >> GET
            first = play.accept()
            first >> BAD
            play.tick(LONGEST_BACK_OFF_S)
            second = play.accept()
            assert second.host is not first.host
            second >> OK
            client << OK

    def test_the_only_host_is_tried_again(self) -> None:
        with playbook("5xx", previous_hosts=True, host_selection_retry_max_attempts=5) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> BAD
            play.tick(LONGEST_BACK_OFF_S)
            up >> OK
            client << OK


class TestLimits:
    def test_max_retries_in_flight(self) -> None:
        with playbook("5xx", breaker=model.Thresholds(max_retries=1)) as play:
            clients = [play.client() for _ in range(2)]
            for client in clients:
                client >> GET
            ups = [play.accept(), play.accept()]
            for up in ups:
                up >> BAD
            assert sorted(bool(client.take()) for client in clients) == [False, True]
            assert play.count("upstream_rq_retry_overflow") == 1
            play.tick(LONGEST_BACK_OFF_S)
            for up in ups:
                if up.take().count(GET) == 2:
                    up >> OK

    def test_the_budget(self) -> None:
        """20 % of what is in flight, and never less than the floor."""
        breaker = model.Thresholds(budget_percent=20.0, budget_min_concurrency=1, max_retries=0)
        with playbook("5xx", breaker=breaker) as play:
            clients = [play.client() for _ in range(11)]
            for client in clients:
                client >> GET
            ups = [play.accept() for _ in clients]
            for up in ups:
                up >> BAD
            assert play.count("upstream_rq_retry") == 2
            assert play.count("upstream_rq_retry_overflow") == 9


class TestEnds:
    def test_the_client_leaves_during_the_back_off(self) -> None:
        with playbook("5xx") as play:
            client = play.client()
            client >> GET
            play.accept() >> BAD
            client.reset()
            play.tick(LONGEST_BACK_OFF_S)
            assert play.logged == [(0, "DC", "downstream_remote_disconnect")]
            assert play.count("upstream_rq_total") == 1

    def test_the_time_is_over_during_the_back_off(self) -> None:
        slow = model.RetryBackOff(100.0, 100.0)
        table = route(timeout_s=1.0, retry=retries("5xx", back_off=slow))
        with Playbook(table, seed=5) as play:
            client = play.client()
            client >> GET
            play.accept() >> BAD
            play.tick(1.1)
            assert client.take().startswith(b"HTTP/1.1 504 ")
            assert play.logged == [(504, "UT", "response_timeout")]

    def test_the_cluster_goes_during_the_back_off(self) -> None:
        with playbook("5xx") as play:
            client = play.client()
            client >> GET
            play.accept() >> BAD
            play.apply(replace(play.config, clusters={}))
            play.tick(LONGEST_BACK_OFF_S)
            if play.openings:
                play.opening().fail()
            assert client.take().startswith(b"HTTP/1.1 503 ")


class TestPerTryTimeout:
    def test_a_slow_attempt_is_tried_again(self) -> None:
        with playbook("5xx", per_try_timeout_s=1.0) as play:
            client = play.client()
            client >> GET
            slow = play.accept()
            play.tick(1.1)
            assert slow.closed and play.count("upstream_rq_per_try_timeout") == 1
            play.tick(LONGEST_BACK_OFF_S)
            up = play.accept()
            up << GET
            up >> OK
            client << OK
            assert play.logged == [(200, "", "via_upstream")]

    def test_the_last_one(self) -> None:
        with playbook("5xx", per_try_timeout_s=1.0, num_retries=0) as play:
            client = play.client()
            client >> GET
            play.accept()
            play.tick(1.1)
            assert client.take().endswith(b"upstream request timeout")
            assert play.logged[0][0] == 504

    def test_not_once_the_answer_has_begun(self) -> None:
        with playbook("5xx", per_try_timeout_s=1.0) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK[:-1]
            play.tick(5.0)
            up >> OK[-1:]
            client << OK

    def test_one_that_is_not_below_the_routes_counts_for_nothing(self) -> None:
        once = retries("5xx", per_try_timeout_s=3.0)
        with Playbook(
            route(retry=once, timeout_s=1.0), clusters=[cluster()], suppress_envoy_headers=False
        ) as play:
            client = play.client()
            client >> GET
            assert b"x-envoy-expected-rq-timeout-ms: 1000\r\n" in play.accept().take()
            play.tick(1.1)
            assert play.count("upstream_rq_per_try_timeout") == 0
            assert client.take().startswith(b"HTTP/1.1 504 ")

    def test_while_it_waits_for_a_connection(self) -> None:
        with playbook("5xx", per_try_timeout_s=1.0) as play:
            client = play.client()
            client >> GET
            play.tick(1.1 + LONGEST_BACK_OFF_S)
            assert play.count("upstream_rq_pending_active") == 1  # the second attempt
            play.accept() >> OK
            client << OK
