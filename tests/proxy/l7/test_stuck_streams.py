"""Nobody waits for ever for somebody who has gone: pauses end with whoever asked for them."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.config import model
from proxy.config.filters.decode_fault import TYPE_URL, FaultConfig, RateLimit
from proxy.config.model import FractionalPercent, HttpFilter
from tests.support.h2_play import H2Client
from tests.support.playbook import (
    ROUTER,
    Client,
    Playbook,
    Up,
    cluster,
    listener,
    route,
    routes,
    snapshot,
)

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n"
MIB = 1 << 20


@dataclass
class Slow:
    """So many KiB a second."""

    kib: int

    @property
    def filter(self) -> HttpFilter:
        limit = RateLimit(self.kib, FractionalPercent(100))
        return HttpFilter("slow", TYPE_URL, FaultConfig(rate_limit=limit))


def mirrored() -> tuple[Playbook, model.Route]:
    one = route(mirrors=(model.MirrorPolicy("b"),))
    copies = cluster("b", per_connection_buffer_limit_bytes=20)
    return Playbook(config=snapshot([listener(routes(one))], [cluster(), copies])), one


def uploading(play: Playbook) -> tuple[Client, Up, Up]:
    """A request whose copy is not taken."""
    client = play.client()
    client >> POST + b"x" * 10
    up, copy = play.accept(), play.accept()
    copy.stop_reading()
    client >> b"x" * 90
    assert not client.transport.reading
    return client, up, copy


def test_a_copy_that_is_lost_slows_its_request_no_more() -> None:
    play, _ = mirrored()
    with play:
        client, up, copy = uploading(play)
        copy.reset()
        assert client.transport.reading
        client >> b"x" * 900
        assert up.take().endswith(b"x" * 1000)
        up >> EMPTY
        client << EMPTY


def test_a_copy_that_is_answered_early_slows_its_request_no_more() -> None:
    play, _ = mirrored()
    with play:
        client, up, copy = uploading(play)
        copy >> EMPTY
        client >> b"x" * 900
        assert up.take().endswith(b"x" * 1000)
        up >> EMPTY
        client << EMPTY


def test_a_copy_that_is_taken_again_leaves_the_pause_of_the_request_itself() -> None:
    one = route(mirrors=(model.MirrorPolicy("b"),))
    small = [cluster(name, per_connection_buffer_limit_bytes=20) for name in "ab"]
    with Playbook(config=snapshot([listener(routes(one))], small)) as play:
        client, up, copy = uploading(play)
        up.stop_reading()
        copy.read_on()
        client >> b"x" * 90
        assert not client.transport.reading
        copy.stop_reading()
        client.transport.reading = False
        up.read_on()
        up.take()


def test_a_connection_that_was_paused_reads_the_next_answer() -> None:
    """The throttle pauses the upstream by what came with the end of the answer."""
    with Playbook(filters=(Slow(4096).filter, ROUTER)) as play:
        client = play.client() >> GET
        up = play.accept() << GET
        size = 2 * MIB
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
        up >> b"x" * size
        other = play.client() >> GET
        up << GET
        up >> EMPTY
        other << EMPTY
        play.tick(1.0)
        assert client.take().endswith(b"x" * 1000)


def test_a_throttled_answer_may_take_longer_than_its_upstream() -> None:
    """The route's timeout is over with the upstream's part (Envoy)."""
    table = route(timeout_s=2.0)
    with Playbook(table, filters=(Slow(1).filter, ROUTER)) as play:
        client = play.client() >> GET
        up = play.accept() << GET
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 8192\r\n\r\n" + b"x" * 8192
        play.tick(10.0)
        assert client.take().endswith(b"x" * 8192)
        assert play.logged == [(200, "", "via_upstream")]


def test_what_a_throttle_keeps_is_bounded_whatever_the_client_does() -> None:
    slow = Slow(1).filter
    one = listener(routes(route(timeout_s=0.0)), codec="HTTP2", filters=(slow, ROUTER))
    with Playbook(config=snapshot([one], [cluster()])) as play:
        client = H2Client(play)
        client.ask("/")
        up = play.accept()
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"
        for _ in range(2):
            up >> b"x" * MIB
        assert not up.transport.reading
        stream = next(iter(play.worker.streams))
        stream.on_downstream_full(True)
        stream.on_downstream_full(False)  # the client reads again
        for _ in range(3):
            up >> b"x" * MIB
        assert not up.transport.reading
        client.peer.reset()


def test_an_upstream_that_closes_and_takes_nothing_is_gone() -> None:
    """What is still to be written would keep the transport open."""
    small = cluster(per_connection_buffer_limit_bytes=20)
    with Playbook(clusters=[small]) as play:
        client = play.client() >> POST + b"x" * 10
        up = play.accept()
        up.stop_reading()
        client >> b"x" * 100
        up.leave()
        assert play.logged[-1][0] == 503
        assert play.logged[-1][1] == "UC"
        assert client.take().startswith(b"HTTP/1.1 503")
