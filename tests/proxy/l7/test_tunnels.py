"""Upgrades and CONNECT from an HTTP/1 client to an HTTP/1 upstream."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from proxy.l7.tunnel import agrees
from tests.support.playbook import Playbook, cluster, listener, retries, route, routes, snapshot

WEBSOCKET = model.ManagerUpgrade("websocket")
CONNECT = model.ManagerUpgrade("connect")
ASK = b"GET /chat HTTP/1.1\r\nhost: a\r\n"
UPGRADE = b"connection: upgrade\r\nupgrade: websocket\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def a_play(*upgrades: model.ManagerUpgrade, **fields: Any) -> Playbook:
    return Playbook(upgrades=upgrades or (WEBSOCKET,), **fields)


def test_bytes_pass_both_ways_when_the_upstream_has_agreed() -> None:
    with a_play() as play:
        client = play.client()
        client >> ASK + b"Connection: Upgrade\r\nUpgrade: websocket\r\nsec-k: 1\r\n\r\n"
        up = play.accept()
        up << ASK + b"sec-k: 1\r\n" + UPGRADE + b"\r\n"
        up >> SWITCH + b"connection: Upgrade\r\nupgrade: websocket\r\nsec-a: 2\r\n\r\nwelcome"
        client << SWITCH + b"sec-a: 2\r\n" + UPGRADE + b"\r\nwelcome"
        client >> b"one"
        up << b"one"
        up >> b"two"
        client << b"two"
        assert play.count("downstream_cx_upgrades_active") == 1
        up.leave()
        assert client.closed
        assert play.logged == [(101, "", "via_upstream")]
        assert play.count("downstream_cx_upgrades_active") == 0
        assert play.count("downstream_cx_upgrades_total") == 1


def test_what_the_client_says_too_early_waits_for_the_answer() -> None:
    with a_play() as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\nearly"
        up = play.accept()
        client >> b" bird"
        up << ASK + UPGRADE + b"\r\n"
        up >> SWITCH + UPGRADE + b"\r\n"
        up << b"early bird"
        client >> b"!"
        up << b"!"


@pytest.mark.parametrize("status", [200, 204, 302])
def test_a_websocket_that_the_upstream_does_not_open(status: int) -> None:
    with a_play() as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        up = play.accept()
        up >> b"HTTP/1.1 %d OK\r\ncontent-length: 2\r\n\r\nno" % status
        assert client.take().startswith(b"HTTP/1.1 %d " % status)
        assert client.closed and up.closed
        assert play.logged == [(status, "", "websocket_handshake_unsuccessful")]
        assert b"smuggled" not in up.take()


def test_an_error_of_the_upstream_is_passed_on() -> None:
    with a_play() as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\n"
        play.accept() >> b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"
        client << b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
        assert client.closed and play.logged == [(403, "", "via_upstream")]


def test_101_that_nobody_asked_for() -> None:
    with a_play() as play:
        client = play.client()
        client >> ASK + b"\r\n"
        play.accept() >> SWITCH + UPGRADE + b"\r\n"
        assert client.take().startswith(b"HTTP/1.1 502 ")
        assert play.logged[0][1] == "UPE"


@pytest.mark.parametrize(
    "upgrades", [(CONNECT,), (model.ManagerUpgrade("websocket", enabled=False),)]
)
def test_what_is_not_configured_is_refused(upgrades: tuple[model.ManagerUpgrade, ...]) -> None:
    with a_play(*upgrades) as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\nbytes"
        client << REFUSED
        assert client.closed and not play.openings
        assert play.logged == [(403, "", "upgrade_failed")]
        assert play.count("downstream_rq_ws_on_non_ws_route") == 1


def test_the_client_goes_away() -> None:
    with a_play() as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\n"
        up = play.accept()
        up >> SWITCH + UPGRADE + b"\r\n"
        client.leave()
        assert up.closed and play.logged == [(101, "DC", "downstream_remote_disconnect")]


def test_an_idle_tunnel_ends() -> None:
    with a_play(stream_idle_timeout_s=10.0) as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\n"
        up = play.accept()
        up >> SWITCH + UPGRADE + b"\r\n"
        for _ in range(5):
            play.tick(8.0)
            client >> b"x"
        assert not client.closed
        play.tick(12.0)
        assert client.closed and up.closed and play.logged[0][1:] == ("SI", "stream_idle_timeout")


def test_a_tunnel_has_no_route_timeout() -> None:
    with a_play() as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\n"
        up = play.accept()
        up >> SWITCH + UPGRADE + b"\r\n"
        play.tick(100.0)
        up >> b"still here"
        assert client.take().endswith(b"still here")


def test_nobody_who_reads_slowly_makes_the_other_side_pile_up() -> None:
    small = cluster(per_connection_buffer_limit_bytes=1000)
    with a_play(clusters=[small]) as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\n"
        up = play.accept()
        up >> SWITCH + UPGRADE + b"\r\n"
        up.stop_reading()
        client >> b"x" * 2000
        assert not client.transport.reading
        up.read_on()
        assert client.transport.reading and up.take().endswith(b"x" * 2000)


def test_bytes_that_wait_for_an_answer_are_bounded() -> None:
    small = listener(routes(route()), buffer_limit=1000, upgrades=(WEBSOCKET,))
    with Playbook(config=snapshot([small], [cluster()])) as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\n" + b"x" * 900
        up = play.accept()
        client >> b"y" * 200
        assert not client.transport.reading
        up >> SWITCH + UPGRADE + b"\r\n"
        assert client.transport.reading and up.take().endswith(b"x" * 900 + b"y" * 200)


def test_an_attempt_is_made_again_before_the_tunnel_is_open() -> None:
    twice = route(retry=retries("5xx", num_retries=1))
    with Playbook(twice, upgrades=(WEBSOCKET,)) as play:
        client = play.client()
        client >> ASK + UPGRADE + b"\r\nearly"
        play.accept() >> b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
        play.tick(1.0)
        up = play.accept()
        up << ASK + UPGRADE + b"\r\n"
        up >> SWITCH + UPGRADE + b"\r\n"
        up << b"early"


@pytest.mark.parametrize(
    ("upgrade", "status", "open_"),
    [
        (b"websocket", 101, True),
        (b"websocket", 200, False),
        (b"", 101, False),
        (b"", 200, True),
        (b"", 299, True),
        (b"", 300, False),
    ],
)
def test_which_answer_opens_a_tunnel(upgrade: bytes, status: int, open_: bool) -> None:
    assert agrees(upgrade, status) is open_
