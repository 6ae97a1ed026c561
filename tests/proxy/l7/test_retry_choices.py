"""Retries beyond whether: how long they wait, where they go, and what a host is blamed for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.config import model
from tests.support.playbook import Playbook, Up, cluster, listener, retries, route, routes, snapshot

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad"
BASE_S = 1.0
LONGEST_S = 0.3
BLAME = model.OutlierDetection(consecutive_5xx=2, max_ejection_percent=100)


def a_play(one: model.Cluster, seed: int = 1, **policy: Any) -> Playbook:
    return Playbook(route(retry=retries("5xx", **policy)), clusters=[one], seed=seed)


def in_priorities(count: int) -> model.Cluster:
    """A host of each priority."""
    groups = tuple(
        model.LocalityEndpoints(
            ("", "", ""),
            (model.Endpoint(model.SocketAddress(f"10.0.0.{at + 1}", 80)),),
            priority=at,
        )
        for at in range(count)
    )
    return model.Cluster("a", load_assignment=model.ClusterLoadAssignment("a", groups))


def priorities(play: Playbook, attempts: int) -> list[int]:
    """Of the hosts that so many attempts of one request went to, all but the last in vain."""
    client = play.client()
    client >> GET
    found: list[int] = []
    for _ in range(attempts):
        up = play.upstream()
        found.append(up.host.priority)
        up >> (BAD if len(found) < attempts else OK)
        play.tick(LONGEST_S * 4)
    client << OK
    return found


def waited(play: Playbook, up: Up) -> int:
    """Whole seconds before the next attempt, at most."""
    seconds = 0
    while GET not in up.take():
        assert seconds < 100
        play.tick(BASE_S)
        seconds += 1
    return seconds


def test_each_back_off_may_be_twice_as_long() -> None:
    """Envoy's interval doubles up to its maximum; the first wait is never above the base."""
    longest = [0] * 5
    for seed in range(6):
        back_off = model.RetryBackOff(BASE_S, 4 * BASE_S)
        one = a_play(cluster(), seed, num_retries=5, back_off=back_off)
        with one as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up.take()
            for at in range(5):
                up >> BAD
                longest[at] = max(longest[at], waited(play, up))
            up >> OK
            client.take()
    assert longest[0] == 1 and longest[1] == 2 and 2 < max(longest) <= 4


def test_as_many_hosts_are_looked_at_as_the_policy_says() -> None:
    """host_selection_retry_max_attempts: picks behind the first one."""
    for more, other in ((1, True), (0, False)):
        one = cluster(hosts=2)
        with a_play(one, previous_hosts=True, host_selection_retry_max_attempts=more) as play:
            client, second = play.client(), play.client()
            client >> GET
            failing = play.accept()
            second >> GET  # so that the next in turn is the host that fails
            play.accept() >> OK
            failing >> BAD
            play.tick(LONGEST_S)
            if other:
                assert play.upstream().host is not failing.host
            else:
                failing << GET + GET


@pytest.mark.parametrize(("often", "went"), [(1, [0, 1, 2]), (2, [0, 0, 1]), (3, [0, 0, 0, 1])])
def test_priorities_are_looked_at_anew_after_so_many_attempts(often: int, went: list[int]) -> None:
    """update_frequency of previous_priorities."""
    policy = {"num_retries": 5, "previous_priorities": often}
    with a_play(in_priorities(3), **policy) as play:
        assert priorities(play, len(went)) == went


def test_every_attempt_that_takes_too_long_counts_against_its_host() -> None:
    with a_play(cluster(outlier=BLAME), per_try_timeout_s=1.0) as play:
        client = play.client()
        client >> GET
        play.accept()
        play.tick(1.1 + LONGEST_S)
        assert play.count("outlier_detection.ejections_active") == 0
        play.accept()
        play.tick(1.1)
        assert client.take().startswith(b"HTTP/1.1 504 ")
        assert play.count("outlier_detection.ejections_active") == 1


def test_a_host_is_not_blamed_for_a_limit_of_its_cluster() -> None:
    """Envoy: an overflow says nothing of the host."""
    full = model.Thresholds(max_requests=1)
    one = cluster(outlier=replace(BLAME, consecutive_5xx=1), thresholds_default=full)
    with Playbook(clusters=[one]) as play:
        first, second = play.client(), play.client()
        first >> GET
        second >> GET
        up = play.accept()
        play.accept()
        assert second.take().startswith(b"HTTP/1.1 503 ")
        assert play.logged == [(503, "UO", "upstream_reset_before_response_started{overflow}")]
        assert play.count("outlier_detection.ejections_enforced_total") == 0
        up >> OK
        first << OK


@pytest.mark.parametrize(("limit_bytes", "again"), [(6, True), (5, False)])
def test_a_route_may_keep_less_of_a_body_for_retries(limit_bytes: int, again: bool) -> None:
    """request_body_buffer_limit: a longer one is passed on, and not sent again."""
    one = model.Route(
        model.RouteMatch(prefix="/"),
        model.RouteAction("a", retry=retries("5xx")),
        request_buffer_limit_bytes=limit_bytes,
    )
    with Playbook(config=snapshot([listener(routes(one))], [cluster()])) as play:
        client = play.client()
        client >> POST
        up = play.accept()
        client >> b"abc"
        client >> b"def"
        up << POST + b"abcdef"
        up >> BAD
        play.tick(LONGEST_S)
        if again:
            up << POST + b"abcdef"
            up >> OK
        client << (OK if again else BAD)
        assert play.count("retry_or_shadow_abandoned") == (not again)
