"""A slow reader on one side stops the other; every buffer has a bound."""

from __future__ import annotations

from proxy.config import model
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LIMIT = 1000
PIECE = b"x" * 600


def playbook() -> Playbook:
    """Both sides buffer at most LIMIT bytes."""
    one = cluster(per_connection_buffer_limit_bytes=LIMIT)
    direct = model.Route(model.RouteMatch(prefix="/d"), model.DirectResponse(200, b"x" * 100))
    table = routes(direct, route(timeout_s=0.0))
    return Playbook(config=snapshot([listener(table, buffer_limit=LIMIT)], [one]))


def test_a_slow_client_stops_the_upstream() -> None:
    with playbook() as play:
        client = play.client()
        client.stop_reading()
        client >> GET
        up = play.accept()
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 6000\r\n\r\n"
        for _ in range(10):
            up >> PIECE
        assert not up.transport.reading
        assert len(client.transport.buffered) < LIMIT + 2 * len(PIECE)
        client.read_on()
        assert up.transport.reading
        assert client.take().endswith(b"\r\n\r\n" + PIECE * 10)
        assert play.logged == [(200, "", "via_upstream")]


def test_a_slow_upstream_stops_the_client() -> None:
    with playbook() as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6000\r\n\r\n"
        up = play.accept()
        up.stop_reading()
        for _ in range(10):
            client >> PIECE
        assert not client.transport.reading
        assert len(up.transport.buffered) < LIMIT + 2 * len(PIECE)
        up.read_on()
        assert client.transport.reading
        assert up.take().endswith(b"\r\n\r\n" + PIECE * 10)
        up >> OK
        client << OK


def test_an_upstream_that_breaks_while_the_client_is_stopped() -> None:
    with playbook() as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6000\r\n\r\n"
        up = play.accept()
        up.stop_reading()
        for _ in range(3):
            client >> PIECE
        up.reset()
        assert client.take().startswith(b"HTTP/1.1 503 ")
        assert client.closed


def test_a_client_that_breaks_while_the_upstream_is_stopped() -> None:
    with playbook() as play:
        client = play.client()
        client.stop_reading()
        client >> GET
        up = play.accept()
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 6000\r\n\r\n"
        for _ in range(3):
            up >> PIECE
        client.reset()
        assert up.closed and play.logged[0][1] == "DC"


def test_an_answer_that_is_whole_but_not_yet_read() -> None:
    """The upstream's connection is free at once; the client gets its bytes when it reads on."""
    with playbook() as play:
        slow, other = play.client(), play.client()
        slow.stop_reading()
        slow >> GET
        up = play.accept()
        big = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000
        up >> big
        other >> GET
        up >> OK
        other << OK
        slow << b""
        slow.read_on()
        slow << big


def test_what_is_pipelined_is_bounded() -> None:
    with playbook() as play:
        client = play.client()
        client >> GET
        up = play.accept()
        for _ in range(100):
            client >> GET * 100
        assert not client.transport.reading
        assert sum(len(piece) for piece in client.transport._incoming) > 0
        answered = 0
        while up.take():
            up >> OK
            answered += 1
        assert answered == 10_001
        assert client.take() == OK * 10_001


def test_a_buffer_that_was_full_before_the_request() -> None:
    with playbook() as play:
        client = play.client()
        client.stop_reading()
        client >> GET
        up = play.accept()
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000
        client >> GET
        if b"GET" in up.take():
            up >> b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n"
            for _ in range(100):
                up >> b"x" * 600
        assert len(client.transport.buffered) < 5000 + 3 * LIMIT
        client.read_on()


def test_direct_answers_that_nobody_reads() -> None:
    with playbook() as play:
        client = play.client()
        client.stop_reading()
        for _ in range(1000):
            client >> GET.replace(b"/ ", b"/d ")
        assert not client.transport.reading
        assert len(client.transport.buffered) < 5 * LIMIT
        client.read_on()
        assert client.take().count(b"HTTP/1.1 200 OK") == 1000


def test_pipelined_direct_answers_that_nobody_reads() -> None:
    with playbook() as play:
        client = play.client()
        client.stop_reading()
        for _ in range(100):
            client >> GET.replace(b"/ ", b"/d ") * 10
        assert len(client.transport.buffered) < 20 * LIMIT
        client.read_on()
        assert client.take().count(b"HTTP/1.1 200 OK") == 1000
