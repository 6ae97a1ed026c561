"""HTTP/2 through the whole data path in memory, with the `h2` library at both far ends."""

from __future__ import annotations

from dataclasses import replace

import h2.errors
import h2.settings
import pytest

from proxy.config import model
from tests.support.h2_play import HTTP2, H2Client, H2Up, h2_play
from tests.support.playbook import Playbook, listener, retries, route, routes, snapshot

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class TestStreams:
    def test_many_share_one_connection(self) -> None:
        with h2_play() as play:
            clients = [H2Client(play), H2Client(play)]
            streams = [(client, client.ask(f"/{n}")) for n in range(3) for client in clients]
            up = H2Up(play)
            asked = up.asked()
            assert len(asked) == 6 and not play.openings
            for number in reversed(asked):
                up.answer(number, 200, up.streams[number].headers[b":path"])
            for client, stream_id in streams:
                client.say()
                assert client.streams[stream_id].status == 200
                assert client.streams[stream_id].ended
            assert play.count("upstream_cx_http2_total") == 1
            assert play.count("downstream_cx_http2_total") == 2
            assert play.count("downstream_rq_http2_total") == 6

    def test_bodies_both_ways_end_without_an_empty_frame(self) -> None:
        with h2_play() as play:
            client = H2Client(play)
            stream_id = client.ask("/", b"question", method="POST")
            up = H2Up(play)
            (number,) = up.asked()
            assert (up.streams[number].body, up.streams[number].ended) == (b"question", True)
            up.answer(number, 200, b"answer")
            client.say()
            assert client.streams[stream_id].body == b"answer"

    def test_an_http1_host(self) -> None:
        with h2_play(http=model.HttpProtocolOptions()) as play:
            client = H2Client(play)
            stream_id = client.ask("/x")
            up = play.accept()
            up << b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
            up >> OK
            client.say()
            assert client.streams[stream_id].body == b"ok"


class TestLostStreams:
    def test_the_client_resets(self) -> None:
        with h2_play() as play:
            client = H2Client(play)
            stream_id = client.ask("/")
            up = H2Up(play)
            (number,) = up.asked()
            client.wire.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
            client.say()
            up.say()
            assert up.streams[number].reset == h2.errors.ErrorCodes.INTERNAL_ERROR
            assert play.logged == [(0, "DR", "http2.remote_reset")]
            assert play.count("upstream_rq_tx_reset") == 1

    def test_the_client_leaves(self) -> None:
        with h2_play() as play:
            client = H2Client(play)
            client.ask("/one"), client.ask("/two")
            up = H2Up(play)
            assert len(up.asked()) == 2
            client.peer.reset()
            up.say()
            assert [heard.reset for heard in up.streams.values()] == [2, 2]
            assert {flag for _, flag, _ in play.logged} == {"DC"}

    @pytest.mark.parametrize(
        ("code", "flagged"),
        [
            (h2.errors.ErrorCodes.REFUSED_STREAM, "remote_refused_stream_reset"),
            (h2.errors.ErrorCodes.CANCEL, "remote_reset"),
        ],
    )
    def test_the_host_resets(self, code: h2.errors.ErrorCodes, flagged: str) -> None:
        with h2_play() as play:
            client = H2Client(play)
            stream_id = client.ask("/")
            up = H2Up(play)
            up.wire.reset_stream(up.asked()[0], code)
            up.say()
            client.say()
            assert client.streams[stream_id].status == 503
            detail = f"upstream_reset_before_response_started{{{flagged}}}"
            assert play.logged == [(503, "UR", detail)]

    def test_goaway_refuses_what_it_does_not_cover(self) -> None:
        """The first stream is answered, the second one goes to another connection."""
        policy = retries("refused-stream", num_retries=1)
        with h2_play(route(retry=policy)) as play:
            client = H2Client(play)
            one, two = client.ask("/one"), client.ask("/two")
            up = H2Up(play)
            first, _ = up.asked()
            up.wire.close_connection(last_stream_id=first)
            up.peer >> up.wire.data_to_send()
            play.tick(1.0)
            again = H2Up(play)
            again.answer(again.asked()[0], 200, b"two")
            client.say()
            assert client.streams[two].body == b"two"
            assert play.count("upstream_cx_close_notify") == 1
            assert client.streams[one].status == 0
            up.peer.reset()

    def test_a_host_that_breaks_the_protocol_loses_all_streams(self) -> None:
        with h2_play() as play:
            client = H2Client(play)
            streams = [client.ask("/one"), client.ask("/two")]
            up = H2Up(play)
            up.peer >> b"\0\0\1\0\0\0\0\0\0x"
            client.say()
            assert [client.streams[each].status for each in streams] == [502, 502]
            assert up.peer.closed and play.count("upstream_cx_protocol_error") == 1


class TestFlowControl:
    def test_a_slow_stream_stops_only_its_own_upstream(self) -> None:
        http = model.HttpProtocolOptions(
            version="HTTP2", http2=model.Http2Options(initial_stream_window_size=65535)
        )
        limit = {"buffer_limit": 10_000}
        with h2_play(http=http, **limit) as play:
            client = H2Client(play)
            client.acknowledges = False
            client.wire.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
            client.say()
            slow = client.ask("/slow")
            up = H2Up(play)
            (number,) = up.asked()
            up.answer(number, 200, b"x" * 16_000, end=False)
            up.wire.send_data(number, b"x" * 16_000)
            up.say()
            up.wire.send_data(number, b"x" * 16_000)
            up.say()
            assert up.wire.local_flow_control_window(number) < 65535
            sent = up.wire.local_flow_control_window(number)
            up.say()
            assert up.wire.local_flow_control_window(number) == sent  # it is not opened again
            fast = client.ask("/fast", method="HEAD")
            up.answer(up.asked()[-1], 200)
            client.say()
            assert client.streams[fast].ended
            assert len(client.streams[slow].body) == 10
            client.acknowledges = True
            client.wire.increment_flow_control_window(1 << 20, slow)
            client.wire.increment_flow_control_window(1 << 20)
            client.say()
            up.wire.send_data(number, b"y", end_stream=True)
            del up.streams[number]
            up.say()
            client.say()
            assert client.streams[slow].body == b"x" * 48_000 + b"y"

    def test_a_slow_host_stops_the_client(self) -> None:
        manager = {"http2": model.Http2Options(initial_stream_window_size=65535)}
        fields = {"per_connection_buffer_limit_bytes": 1000}
        with h2_play(cluster_fields=fields, **manager) as play:
            client = H2Client(play)
            stream_id = client.ask("/", end=False, method="POST")
            up = H2Up(play, {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            (number,) = up.asked()
            client.wire.send_data(stream_id, b"x" * 16_000)
            client.say()
            client.wire.send_data(stream_id, b"x" * 16_000)
            client.say()
            client.wire.send_data(stream_id, b"x" * 8_000)
            client.say()
            assert client.wire.local_flow_control_window(stream_id) == 65535 - 40_000
            assert up.streams[number].body == b""
            up.wire.increment_flow_control_window(1 << 20, number)
            up.say()
            client.say()
            assert len(up.streams[number].body) == 40_000
            assert client.wire.local_flow_control_window(stream_id) == 65535
            client.wire.end_stream(stream_id)
            client.say()
            up.answer(up.asked()[0])


class TestDraining:
    def test_idle(self) -> None:
        """A notice, then the final GOAWAY after `drain_timeout`, then the end."""
        with h2_play(idle_timeout_s=3.0, drain_timeout_s=2.0) as play:
            client = H2Client(play)
            play.tick(5.0)
            client.say()
            assert client.goaways == [((1 << 31) - 1, 0)]
            play.tick(3.0)
            client.say()
            assert client.goaways[1:] == [(0, 0)] and client.peer.closed
            assert play.count("downstream_cx_idle_timeout") == 1

    def test_what_crosses_the_notice_is_served(self) -> None:
        with h2_play(drain_timeout_s=2.0, max_requests_per_connection=1) as play:
            client = H2Client(play)
            stream_id = client.ask("/")
            assert client.goaways == [((1 << 31) - 1, 0)]
            up = H2Up(play)
            up.answer(up.asked()[0], 200, b"last")
            client.say()
            assert client.streams[stream_id].body == b"last" and not client.peer.closed
            play.tick(4.0)
            assert client.peer.closed

    def test_a_busy_connection_ends_with_its_last_stream(self) -> None:
        with h2_play(drain_timeout_s=1.0, max_connection_duration_s=2.0) as play:
            client = H2Client(play)
            stream_id = client.ask("/")
            up = H2Up(play)
            play.tick(6.0)
            client.say()
            assert len(client.goaways) == 2 and not client.peer.closed
            up.answer(up.asked()[0], 200, b"late")
            client.say()
            assert client.streams[stream_id].body == b"late" and client.peer.closed

    def test_a_listener_that_goes(self) -> None:
        with h2_play() as play:
            client = H2Client(play)
            stream_id = client.ask("/")
            up = H2Up(play)
            play.apply(snapshot([], [*play.config.clusters.values()]))
            up.answer(up.asked()[0], 200, b"old")
            client.say()
            assert client.streams[stream_id].body == b"old"
            assert client.goaways[0] == ((1 << 31) - 1, 0)


class TestKeepalive:
    PING = model.KeepaliveSettings(timeout_s=1.0, interval_s=10.0, jitter_percent=0.0)

    def test_a_client_that_answers_stays(self) -> None:
        with h2_play(http2=model.Http2Options(keepalive=self.PING)) as play:
            client = H2Client(play)
            for rounds in (1, 2):
                play.tick(10.2)
                client.say()
                assert len(client.pings) == rounds
            assert not client.peer.closed

    def test_a_dead_client_is_cut_off(self) -> None:
        with h2_play(http2=model.Http2Options(keepalive=self.PING)) as play:
            client = H2Client(play)
            play.tick(11.5)
            assert client.peer.transport.aborted
            assert play.stats.counters["http2.keepalive_timeout"].value == 1

    def test_a_dead_host_loses_its_streams(self) -> None:
        http = model.HttpProtocolOptions(
            version="HTTP2", http2=model.Http2Options(keepalive=self.PING)
        )
        with h2_play(route(timeout_s=0.0), http=http) as play:
            client = H2Client(play)
            stream_id = client.ask("/")
            up = H2Up(play)
            assert len(up.asked()) == 1
            play.tick(11.5)
            client.say()
            assert client.streams[stream_id].status == 503
            assert play.count("http2.keepalive_timeout") == 1

    def test_an_idle_connection_is_asked_before_it_is_used(self) -> None:
        ping = model.KeepaliveSettings(timeout_s=1.0, idle_interval_s=5.0)
        http = model.HttpProtocolOptions(version="HTTP2", http2=model.Http2Options(keepalive=ping))
        with h2_play(http=http) as play:
            client = H2Client(play)
            client.ask("/one")
            up = H2Up(play)
            up.answer(up.asked()[0])
            client.ask("/two")
            up.answer(up.asked()[0])
            assert up.pings == []
            play.tick(6.0)
            client.ask("/three")
            up.answer(up.asked()[0])
            assert len(up.pings) == 1


class TestWhatTheClientSpeaks:
    @pytest.mark.parametrize("cuts", [(0,), (1, 10), (24,)])
    def test_by_its_first_bytes(self, cuts: tuple[int, ...]) -> None:
        inside = listener(routes(route()), codec="AUTO")
        with Playbook(config=snapshot([inside], [])) as play:
            peer = play.client()
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
            at = 0
            for cut in (*cuts, len(preface)):
                peer >> preface[at:cut]
                at = cut
            assert peer.take().startswith(b"\x00\x00")
            assert play.count("downstream_cx_http2_active") == 1
            assert play.count("downstream_cx_total") == 1

    def test_http1_is_everything_else(self) -> None:
        inside = listener(routes(route()), codec="AUTO")
        with Playbook(config=snapshot([inside], [])) as play:
            peer = play.client()
            assert play.count("downstream_cx_http1_total") == 0
            peer >> b"PRI" >> b" / HTTP/1.1\r\nhost: a\r\n\r\n"
            assert peer.take().startswith(b"HTTP/1.1 ")
            assert play.count("downstream_cx_http1_total") == 1

    def test_a_silent_client_is_idle(self) -> None:
        inside = listener(routes(route()), codec="AUTO", idle_timeout_s=3.0)
        with Playbook(config=snapshot([inside], [])) as play:
            peer = play.client()
            play.tick(5.0)
            assert peer.closed and play.count("downstream_cx_idle_timeout") == 1

    def test_a_client_that_only_resets_is_thrown_out(self) -> None:
        with h2_play() as play:
            client = H2Client(play)
            for _ in range(260):
                if client.peer.closed:
                    break
                stream_id = client.ask("/")
                client.wire.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
                client.say()
            assert client.peer.transport.aborted
            assert play.count("downstream_rq_too_many_premature_resets") == 1


def test_the_options_of_a_cluster_can_change() -> None:
    """HTTP/1 until now, HTTP/2 from now on: what is under way ends as it began."""
    with h2_play(http=model.HttpProtocolOptions()) as play:
        client = H2Client(play)
        old = client.ask("/old")
        first = play.accept()
        changed = play.config.clusters["a"]
        play.apply(
            snapshot(
                list(play.config.listeners.values()),
                [replace(changed, http=HTTP2)],
            )
        )
        new = client.ask("/new")
        up = H2Up(play)
        up.answer(up.asked()[0], 200, b"h2")
        first >> OK
        client.say()
        assert client.streams[old].body == b"ok" and client.streams[new].body == b"h2"
        assert first.closed


def test_nobody_waiting_gets_a_connection_that_is_leaving() -> None:
    """Its one stream is refused by GOAWAY: the next in the queue gets another connection."""
    http = replace(HTTP2, http2=model.Http2Options(max_concurrent_streams=1))
    limits = model.Thresholds(max_connections=1)
    fields = {"thresholds_default": limits}
    with h2_play(http=http, cluster_fields=fields) as play:
        client = H2Client(play)
        refused, waiting = client.ask("/refused"), client.ask("/waiting")
        up = H2Up(play)
        assert len(up.asked()) == 1 and play.count("upstream_rq_pending_active") == 1
        up.wire.close_connection(last_stream_id=0)
        up.peer >> up.wire.data_to_send()
        other = H2Up(play)
        other.answer(other.asked()[0], 200, b"served")
        client.say()
        assert client.streams[refused].status == 503
        assert client.streams[waiting].body == b"served"
