"""Hedging: a slow attempt goes on beside a new one, and the first good answer is the client's."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from tests.support.playbook import Playbook, Up, cluster, retries, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad"
SLOW_S = 1.0
BACK_OFF_S = 0.3


def playbook(timeout_s: float = 15.0, **policy: Any) -> Playbook:
    fields: dict[str, Any] = {"num_retries": 1, "per_try_timeout_s": SLOW_S, **policy}
    hedged = route(
        retry=retries("5xx", **fields), hedge_on_per_try_timeout=True, timeout_s=timeout_s
    )
    return Playbook(hedged, clusters=[cluster()])


def two_attempts(play: Playbook) -> tuple[Up, Up]:
    """The first one was too slow, so that there is a second."""
    play.client() >> GET
    slow = play.accept()
    slow << GET
    play.tick(SLOW_S + BACK_OFF_S)
    second = play.accept()
    second << GET
    return slow, second


def client(play: Playbook) -> Any:
    return play.peers[0]


def test_the_new_attempt_wins() -> None:
    with playbook() as play:
        slow, second = two_attempts(play)
        second >> OK
        client(play) << OK
        assert slow.closed
        assert play.logged == [(200, "", "via_upstream")]
        assert play.count("upstream_rq_retry_success") == 1
        assert play.count("upstream_rq_per_try_timeout") == 0


def test_the_slow_attempt_wins_after_all() -> None:
    with playbook() as play:
        slow, second = two_attempts(play)
        slow >> OK
        client(play) << OK
        assert second.closed and not slow.closed
        assert play.count("upstream_rq_retry_success") == 0


def test_the_slow_attempt_wins_piece_by_piece() -> None:
    with playbook() as play:
        slow, _ = two_attempts(play)
        slow >> OK[:-2]
        slow >> b"o"
        slow >> b"k"
        client(play) << OK


def test_the_slow_attempt_wins_during_the_back_off() -> None:
    with playbook(back_off=model.RetryBackOff(5.0, 5.0)) as play:
        play.client() >> GET
        slow = play.accept()
        play.tick(SLOW_S + 0.05)
        slow >> OK
        client(play) << OK
        play.tick(6.0)
        assert not play.openings


def test_a_bad_answer_waits_for_the_other_attempt() -> None:
    with playbook() as play:
        slow, second = two_attempts(play)
        second >> BAD
        client(play) << b""
        slow >> OK
        client(play) << OK
        assert play.logged == [(200, "URX", "via_upstream")]


def test_the_last_bad_answer_is_kept() -> None:
    with playbook() as play:
        slow, second = two_attempts(play)
        slow >> BAD
        client(play) << b""
        second >> BAD
        client(play) << BAD
        assert play.logged == [(503, "URX", "via_upstream")]


@pytest.mark.parametrize("slow_first", [True, False])
def test_both_are_lost(slow_first: bool) -> None:
    with playbook() as play:
        pair = two_attempts(play)
        for lost in pair if slow_first else reversed(pair):
            assert client(play).take() == b""
            lost.reset()
        assert client(play).take().startswith(b"HTTP/1.1 503")
        assert play.count("upstream_rq_503") == 2


def test_the_slow_one_is_lost_and_the_new_one_answers() -> None:
    with playbook() as play:
        slow, second = two_attempts(play)
        slow.reset()
        client(play) << b""
        second >> OK
        client(play) << OK


def test_no_more_than_the_retries_allow() -> None:
    with playbook(num_retries=2) as play:
        two_attempts(play)
        play.tick(SLOW_S + BACK_OFF_S)
        third = play.accept()
        play.tick(SLOW_S + BACK_OFF_S)
        assert not play.openings
        assert play.cluster().breakers["DEFAULT"].requests == 3
        third >> OK
        client(play) << OK
        assert play.cluster().breakers["DEFAULT"].requests == 0


def test_the_route_s_timeout_ends_all() -> None:
    with playbook(timeout_s=3.0) as play:
        slow, second = two_attempts(play)
        play.tick(2.0)
        assert client(play).take().startswith(b"HTTP/1.1 504")
        assert slow.closed and second.closed
        assert play.count("upstream_rq_timeout") == 2


def test_the_client_leaves() -> None:
    with playbook() as play:
        slow, second = two_attempts(play)
        client(play).reset()
        assert slow.closed and second.closed


def test_an_attempt_that_waits_for_its_connection_is_no_slow_one() -> None:
    """Its time begins when it has one (Envoy)."""
    with playbook() as play:
        play.client() >> GET
        play.tick(SLOW_S + BACK_OFF_S)
        assert len(play.openings) == 1
        up = play.accept()
        up >> OK
        client(play) << OK
