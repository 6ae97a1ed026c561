"""What is left when a stream ends early, and what an answer of our own holds back."""

from __future__ import annotations

from proxy.config import model
from tests.support.playbook import Playbook, cluster, retries, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad"
ONE_RETRY = model.Thresholds(max_retries=1)


def test_a_client_that_leaves_during_a_back_off_gives_its_retry_back() -> None:
    one = cluster(thresholds_default=ONE_RETRY)
    with Playbook(route(retry=retries("5xx")), clusters=[one]) as play:
        for _ in range(3):
            client = play.client()
            client >> GET
            up = play.accept() if play.openings else play.upstream()
            up.take()
            up >> BAD
            assert client.take() == b""
            client.leave()
            assert [one.retries for one in play.cluster().breakers.values()] == [0, 0]
        assert play.count("upstream_rq_retry") == 3
        assert play.count("upstream_rq_retry_overflow") == 0


def test_our_own_answer_to_head_has_no_body() -> None:
    with Playbook(route("/there")) as play:
        client = play.client()
        client >> b"HEAD /direct HTTP/1.1\r\nhost: a\r\n\r\n"
        head = client.take()
        assert head.startswith(b"HTTP/1.1 404 ")
        assert head.endswith(b"\r\n\r\n")
        client >> b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n"
        assert client.take().startswith(b"HTTP/1.1 404 ")


def test_our_own_answer_to_head_says_how_long_the_body_would_be() -> None:
    with Playbook(clusters=[cluster(hosts=0)]) as play:
        client = play.client()
        client >> b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n"
        head = client.take()
        assert b"content-length: 19\r\n" in head
        assert head.endswith(b"\r\n\r\n")
