"""What was answered over HTTP/2 arrives, also when it waits for the client's window at the end."""

from __future__ import annotations

import h2.settings

from proxy.config import model
from tests.support.h2_play import H2Client, H2Up, Settings, h2_play
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot

LONG = b"x" * 100_000  # more than the window of a client that says nothing (65,535)
DIRECT = model.Route(model.RouteMatch(prefix="/"), model.DirectResponse(200, LONG))


def slow_client(play: Playbook) -> H2Client:
    client = H2Client(play)
    client.acknowledges = False
    return client


def read_on(client: H2Client, stream_id: int) -> None:
    heard = client.streams[stream_id]
    client.wire.acknowledge_received_data(len(heard.body), stream_id)
    client.acknowledges = True
    client.say()


def test_an_answer_that_comes_before_the_end_of_the_request_is_whole() -> None:
    with h2_play(DIRECT) as play:
        client = slow_client(play)
        stream = client.ask("/", b"part", "POST", end=False)
        assert len(client.streams[stream].body) == 65_535
        assert client.streams[stream].reset == -1
        read_on(client, stream)
        assert client.streams[stream].body == LONG
        assert client.streams[stream].ended
        assert client.streams[stream].reset == 0


def test_the_rest_of_a_request_that_is_answered_early_takes_no_window() -> None:
    with h2_play(DIRECT) as play:
        client = slow_client(play)
        stream = client.ask("/", b"part", "POST", end=False)
        client.wire.send_data(stream, b"y" * 10_000, end_stream=True)
        client.say()
        read_on(client, stream)
        assert client.streams[stream].body == LONG
        assert client.streams[stream].ended
        other = client.ask("/")
        assert client.streams[other].body == LONG


def test_a_connection_that_drains_closes_behind_what_waits() -> None:
    with h2_play(DIRECT, drain_timeout_s=1.0) as play:
        client = slow_client(play)
        stream = client.ask("/")
        play.apply(snapshot([]))
        play.tick(3.0)
        assert not client.peer.closed
        read_on(client, stream)
        assert client.streams[stream].body == LONG
        assert client.streams[stream].ended
        assert client.peer.closed


def test_a_drained_connection_whose_client_takes_nothing_is_cut() -> None:
    with h2_play(DIRECT, drain_timeout_s=1.0) as play:
        client = slow_client(play)
        client.ask("/")
        play.apply(snapshot([]))
        play.tick(200.0)
        assert client.peer.transport.lost


def test_a_stream_that_begins_while_its_client_is_stuck_is_not_read() -> None:
    """Over either version upstream: its windows alone would let a body come."""
    wide: Settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30}
    http = model.HttpProtocolOptions(version="HTTP2")
    inside = listener(routes(route(timeout_s=0.0)), codec="HTTP2", buffer_limit=20_000)
    one = cluster(http=http, per_connection_buffer_limit_bytes=20_000)
    with Playbook(config=snapshot([inside], [one])) as play:
        client = H2Client(play)
        client.wire.update_settings(wide)
        client.wire.increment_flow_control_window(1 << 30)
        client.say()
        first = client.ask("/")
        up = H2Up(play)
        second = client.ask("/")
        client.peer.stop_reading()
        up.answer(first, 200, b"", end=False)
        for _ in range(3):
            up.wire.send_data(first, b"x" * 10_000)
            up.say()
        assert client.peer.transport.get_write_buffer_size() > 20_000
        codec = up.peer.connection._codec  # type: ignore[attr-defined]
        assert codec._open[second].paused
        third = client.ask("/")
        assert codec._open[third].paused


def test_a_goaway_takes_a_request_and_its_copy() -> None:
    """Each gives up the other while the codec goes through its streams."""
    http = model.HttpProtocolOptions(version="HTTP2")
    one = route(mirrors=(model.MirrorPolicy("a"),))
    inside = listener(routes(one), codec="HTTP2")
    with Playbook(config=snapshot([inside], [cluster(http=http)])) as play:
        client = H2Client(play)
        stream = client.ask("/", b"part", "POST", end=False)
        up = H2Up(play)
        assert len(up.asked()) == 2
        up.peer >> bytes.fromhex("000008 07 00 00000000 00000000 00000000".replace(" ", ""))
        client.say()
        assert client.streams[stream].status == 503


def test_a_stream_that_is_reset_while_its_answer_waits_is_no_other_request() -> None:
    with h2_play(DIRECT) as play:
        client = slow_client(play)
        stream = client.ask("/")
        client.wire.reset_stream(stream, 8)
        client.say()
        assert play.logged == [(200, "", "direct_response")]
        assert play.count("downstream_rq_total") == 1


def test_an_upstream_that_closes_and_takes_nothing_is_gone() -> None:
    with h2_play(cluster_fields={"per_connection_buffer_limit_bytes": 20}) as play:
        client = H2Client(play)
        client.ask("/")
        up = H2Up(play)
        up.peer.stop_reading()
        stream = client.ask("/", b"x" * 1000, "POST")
        up.peer.leave()
        client.say()
        assert client.streams[stream].status == 503
