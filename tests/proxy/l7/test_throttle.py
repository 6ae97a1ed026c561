"""An answer whose body goes slowly: whole, in order, and no faster than it may."""

from __future__ import annotations

from proxy.config.filters.decode_fault import TYPE_URL, FaultConfig, RateLimit
from proxy.config.model import FractionalPercent, HttpFilter, MirrorPolicy
from tests.support.playbook import ROUTER, Playbook, cluster, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
SLOW = HttpFilter(
    "slow", TYPE_URL, FaultConfig(rate_limit=RateLimit(1, FractionalPercent(100)))
)  # 1 KiB a second, 64 bytes at a time
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n"


def test_a_body_goes_in_portions_and_the_stream_ends_with_the_last() -> None:
    with Playbook(filters=(SLOW, ROUTER)) as play:
        client = play.client() >> GET
        up = play.accept() << GET
        up >> HEAD + b"x" * 200
        client << HEAD + b"x" * 64
        assert play.count("fault.active_faults") == 1
        for portion in (64, 64, 8):
            play.tick(1 / 16 + 0.001)
            client << b"x" * portion
        assert play.count("fault.active_faults") == 0
        assert play.logged == [(200, "", "via_upstream")]


def test_the_next_request_on_the_connection_is_its_own() -> None:
    with Playbook(filters=(SLOW, ROUTER)) as play:
        client = play.client() >> GET
        up = play.accept() << GET
        up >> HEAD + b"x" * 200
        play.tick(1.0)
        client << HEAD + b"x" * 200
        client >> GET
        up << GET
        up >> b"HTTP/1.1 204 No Content\r\n\r\n"
        client << b"HTTP/1.1 204 No Content\r\n\r\n"


def test_a_client_that_leaves_takes_the_rest_with_it() -> None:
    with Playbook(filters=(SLOW, ROUTER)) as play:
        client = play.client() >> GET
        up = play.accept() << GET
        up >> HEAD + b"x" * 200
        client.reset()
        play.tick(1.0)
        assert play.logged == [(200, "DC", "downstream_remote_disconnect")]


def test_what_comes_of_the_request_behind_its_answer_goes_nowhere() -> None:
    """Not to the copy either, which ends with it."""
    copied = route(mirrors=(MirrorPolicy("b"),))
    with Playbook(copied, clusters=[cluster(), cluster("b")], filters=(SLOW, ROUTER)) as play:
        client = play.client() >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc"
        up, copy = play.accept(), play.accept()
        assert copy.take().endswith(b"abc")
        up >> HEAD + b"x" * 200
        client >> b"def"
        copy << b""
        play.tick(1.0)
        assert client.take().endswith(b"x" * 200)
        assert copy.closed
