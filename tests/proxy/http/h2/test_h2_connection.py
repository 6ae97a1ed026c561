"""Connections as a whole: windows, turns, limits on what a peer may send, both ends together."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.http.h2 import (
    ClientConnection,
    ConnectionFailed,
    Options,
    PrematureResets,
    ServerConnection,
    errors,
    frames,
)
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from tests.support.h2_codec import Listener, Server
from tests.support.h2spec import GET, GET_1, PING_US, POST, POST_1, request

SMALL = Options(initial_stream_window_size=65535, initial_connection_window_size=65535)
TRAILERS = Headers.of([(b"grpc-status", b"0")])


class Pair:
    """A client and a server of the codec, joined; `run` until nothing is said any more."""

    def __init__(self, options: Options | None = None) -> None:
        options = options or Options(allow_connect=True)
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.client_sink, self.server_sink = Listener(), Listener()
        self.client = ClientConnection(self.client_sink, options, self.to_server.append)
        self.server = ServerConnection(self.server_sink, options, self.to_client.append)
        self.client.start()
        self.server.start()
        self.run()

    def run(self) -> None:
        while self.to_server or self.to_client:
            said, self.to_server[:] = b"".join(self.to_server), []
            self.server.feed(said)
            said, self.to_client[:] = b"".join(self.to_client), []
            self.client.feed(said)

    def ask(self, data: bytes = b"", *, end: bool = True) -> int:
        stream_id = self.client.new_stream()
        head = Request(b"POST", b"/", b"a", Headers.of([(b"x-a", b"1")]), -1)
        self.client.send_head(stream_id, head, end, data)
        self.run()
        return stream_id


def of(sink: Listener, kind: str) -> list[list[object]]:
    return [event for event in sink.events if event[0] == kind]


def test_a_message_each_way_is_one_event_and_one_write() -> None:
    pair = Pair()
    pair.ask(b"question")
    assert of(pair.server_sink, "request")[0][-2:] == [b"question", True]
    pair.server.send_head(1, Response(200, Headers()), True, b"answer")
    assert len(pair.to_client) == 1
    pair.run()
    assert of(pair.client_sink, "response") == [["response", 1, 200, [], b"answer", True]]
    assert pair.client.streams == pair.server.streams == 0


def test_bodies_beyond_the_windows_wait_and_get_through() -> None:
    pair = Pair(SMALL)
    body = bytes(range(256)) * 4000
    pair.client.send_head(
        pair.client.new_stream(), Request(b"POST", b"/", b"a", Headers(), -1), False
    )
    pair.client.send_data(1, body, False)
    assert pair.client.queued(1) == len(body) - 65535
    pair.client.send_trailers(1, TRAILERS)
    pair.run()
    assert pair.client.queued(1) == 0
    assert of(pair.server_sink, "request")[0][-2:] == [body, True]
    assert of(pair.server_sink, "trailers") == [["trailers", 1, [(b"grpc-status", b"0")]]]


def test_who_waits_is_told_when_it_may_write_again() -> None:
    pair = Pair(SMALL)
    pair.client.send_head(
        pair.client.new_stream(), Request(b"POST", b"/", b"a", Headers(), -1), False
    )
    pair.client.send_data(1, b"x" * 100_000, False)
    assert pair.client_sink.windows == []
    pair.run()
    assert pair.client_sink.windows == [1]
    pair.client.send_data(1, b"", True)
    pair.run()
    assert len(of(pair.server_sink, "request")[0][-2]) == 100_000  # type: ignore[arg-type]


def test_a_paused_stream_does_not_open_its_windows() -> None:
    """A window at most comes, then nothing until it is resumed; other streams go on."""
    options = dataclasses.replace(SMALL, initial_connection_window_size=200_000)
    pair = Pair(options)
    one, two = pair.ask(end=False), pair.ask(end=False)
    pair.server.pause(one)
    for stream_id in (one, two):
        pair.client.send_data(stream_id, b"x" * 300_000, True)
    pair.run()
    sizes = [len(event[-2]) for event in of(pair.server_sink, "request")]  # type: ignore[arg-type]
    assert sizes == [65535, 300_000]
    pair.server.resume(one)
    pair.run()
    assert of(pair.server_sink, "request")[0][-1] is True


def test_what_a_paused_stream_held_is_freed_when_it_ends() -> None:
    pair = Pair(SMALL)
    for _ in range(5):
        stream_id = pair.ask(end=False)
        pair.server.pause(stream_id)
        pair.client.send_data(stream_id, b"x" * 60_000, False)
        pair.run()
        pair.server.reset(stream_id, errors.CANCEL)
        pair.run()
        assert of(pair.client_sink, "reset")[-1][:3] == ["reset", stream_id, errors.CANCEL]
    assert pair.server._held == 0


def test_streams_take_turns_when_the_connection_is_the_bottle_neck() -> None:
    options = dataclasses.replace(SMALL, initial_stream_window_size=1 << 24)
    pair = Pair(options)
    streams = [pair.ask(end=False) for _ in range(4)]
    for stream_id in streams:
        pair.client.send_data(stream_id, b"x" * 200_000, True)
    assert [pair.client.queued(stream_id) > 0 for stream_id in streams] == [True] * 4
    for _ in range(8):  # half of a window each time
        said, pair.to_server[:] = b"".join(pair.to_server), []
        pair.server.feed(said)
        said, pair.to_client[:] = b"".join(pair.to_client), []
        pair.client.feed(said)
    left = [pair.client.queued(stream_id) for stream_id in streams[1:]]
    assert max(left) - min(left) <= 2 * 16384
    pair.run()
    assert all(event[-1] for event in of(pair.server_sink, "request"))


def test_a_thousand_streams_are_all_served() -> None:
    pair = Pair()
    for _ in range(1000):
        pair.ask(b"q" * 100)
    for stream_id in range(1, 2001, 2):
        pair.server.send_head(stream_id, Response(200, Headers()), False)
        pair.server.send_data(stream_id, b"a" * 1000, True)
    pair.run()
    answers = of(pair.client_sink, "response")
    assert len(answers) == 1000 and all(event[-1] for event in answers)
    assert pair.client.streams == pair.server.streams == 0


def test_goaway_refuses_what_came_too_late() -> None:
    pair = Pair()
    one = pair.ask(end=False)
    two = pair.client.new_stream()
    pair.client.send_head(two, Request(b"GET", b"/", b"a", Headers()), True)
    pair.server.goaway()
    said, pair.to_client[:] = b"".join(pair.to_client), []
    pair.client.feed(said)
    assert of(pair.client_sink, "reset") == [
        ["reset", two, errors.REFUSED_STREAM, "http2.remote_refuse"]
    ]
    assert of(pair.client_sink, "goaway") == [["goaway", one, errors.NO_ERROR, b""]]
    assert not pair.client.can_open
    pair.to_server.clear()
    pair.client.send_data(one, b"x", True)
    pair.run()
    assert of(pair.server_sink, "request")[0][-1] is True


def test_a_shutdown_notice_still_takes_what_comes() -> None:
    pair = Pair()
    pair.server.shutdown_notice()
    pair.to_server.clear()
    two = pair.client.new_stream()
    pair.client.send_head(two, Request(b"GET", b"/", b"a", Headers()), True)
    pair.run()
    assert not pair.client.can_open
    assert len(of(pair.server_sink, "request")) == 1


def test_the_peers_limit_on_streams_is_known() -> None:
    pair = Pair(dataclasses.replace(Options(), max_concurrent_streams=2))
    assert pair.client.max_streams == 2
    pair.ask(end=False)
    assert pair.client.can_open
    pair.ask(end=False)
    assert not pair.client.can_open
    pair.ask(end=False)  # above it all the same
    assert of(pair.client_sink, "reset")[0][2] == errors.REFUSED_STREAM


def test_pings_come_back() -> None:
    pair = Pair()
    pair.client.ping(b"12345678")
    pair.run()
    assert of(pair.client_sink, "pong") == [["pong", b"12345678"]]


def test_long_header_blocks_need_continuations() -> None:
    pair = Pair(dataclasses.replace(Options(), max_header_bytes=100_000))
    fields = [(b"x-%d" % number, b"v" * 9000) for number in range(8)]
    head = Request(b"GET", b"/", b"a", Headers.of(fields))
    pair.client.send_head(pair.client.new_stream(), head, True)
    pair.run()
    assert of(pair.server_sink, "request")[0][5] == fields


# ---------------------------------------------------------------------- floods


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return frames.frame(kind, flags, stream_id, payload)


def test_a_body_that_differs_from_its_length() -> None:
    for sent in (b"", b"1234", b"123456"):
        server = Server(Options(stream_error_on_invalid_http_messaging=True))
        head = request([*POST, ("content-length", "5")], end=False)
        server.fed(head + frame(frames.DATA, 1, 1, sent))
        assert server.sink.events[-1] == [
            "reset", 1, errors.PROTOCOL_ERROR, "http2.violation.of.messaging.rule"
        ]  # fmt: skip


def test_a_body_that_overruns_the_window() -> None:
    server = Server(SMALL)
    server.sink.answering = None
    server.fed(POST_1)
    server.codec.pause(1)
    for _ in range(4):
        server.fed(frame(frames.DATA, 0, 1, b"x" * 16383))
    server.fed(frame(frames.DATA, 0, 1, b"xxx"))
    assert server.failed is None
    server.fed(frame(frames.DATA, 0, 1, b"x"))
    assert server.failed is not None and server.failed.code == errors.FLOW_CONTROL_ERROR


FLOODS = {
    "empty DATA": ([POST_1, *[frame(frames.DATA, 0, 1)] * 2], "inbound_empty_frames_flood"),
    "empty padded DATA": (
        [POST_1, *[frame(frames.DATA, 8, 1, b"\x01\0")] * 2], "inbound_empty_frames_flood"
    ),
    "empty CONTINUATION": (
        [frame(frames.HEADERS, 1, 1, b"\x82"), *[frame(frames.CONTINUATION, 0, 1)] * 2],
        "inbound_empty_frames_flood",
    ),
    "CONTINUATION": (
        [frame(frames.HEADERS, 1, 1, b"\x82"), *[frame(frames.CONTINUATION, 0, 1, b"\x86")] * 9], ""
    ),
    "PRIORITY": (
        [frame(frames.PRIORITY, 0, 3, b"\0\0\0\0\1")] * 101, "inbound_priority_frames_flood"
    ),
    "WINDOW_UPDATE": (
        [frames.window_update(0, 1)] * 6, "inbound_window_update_frames_flood"
    ),
    "PING": ([PING_US * 1001], "outbound_control_flood"),
    "SETTINGS": ([frames.settings([]) * 1001], "outbound_control_flood"),
    "refused streams": (
        [b"".join(request(GET, number * 2 + 1) for number in range(1002))], "outbound_control_flood"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FLOODS)
def test_floods_end_the_connection(what: str) -> None:
    """Envoy's limits, one above each; one less is borne."""
    sent, count = FLOODS[what]
    one_stream = dataclasses.replace(Options(), max_concurrent_streams=1)
    server = Server(one_stream if what == "refused streams" else None)
    server.sink.answering = None
    server.sink.unsent_bytes = 1
    server.codec._controls = 0
    for wire in sent[:-1]:
        server.fed(wire)
        assert server.failed is None
    server.fed(sent[-1])
    assert server.failed is not None and server.failed.code == errors.ENHANCE_YOUR_CALM
    assert not count or count in server.sink.counts


def test_answers_that_have_left_do_not_count() -> None:
    server = Server()
    for _ in range(5):
        server.fed(PING_US * 900)
    assert server.failed is None


def test_answers_that_nobody_reads() -> None:
    """max_outbound_frames: a client that asks and asks and never reads."""
    server = Server(dataclasses.replace(Options(), max_outbound_frames=1000))
    server.sink.unsent_bytes = 1
    for number in range(600):
        server.fed(request(GET, number * 2 + 1))
    assert server.failed is not None
    assert "outbound_flood" in server.sink.counts


def test_premature_resets() -> None:
    """CVE-2023-44487, with Envoy's numbers: 500 streams, half of them given up within a second."""

    def end(resets: PrematureResets, lifetime_s: float, answered: bool = False) -> bool:
        resets.ended += 1
        return not answered and resets.note(lifetime_s)

    resets = PrematureResets()
    assert not any(end(resets, 0.1) for _ in range(249))
    assert end(resets, 0.1)
    patient = PrematureResets()
    assert not any(end(patient, 0.1, number % 3 != 0) for number in range(5000))
    assert not any(end(patient, 1.5) for _ in range(5000))


def test_a_failed_connection_has_said_goodbye_and_reads_no_more() -> None:
    server = Server()
    server.fed(GET_1)
    written = server.fed(frame(frames.DATA, 0, 0, b"x"))
    assert written == [(frames.GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\1")]
    assert server.failed is not None
    before = list(server.sink.events)
    assert server.fed(request(GET, 3)) == []
    assert server.sink.events == before


def test_a_client_refuses_what_it_did_not_ask_for() -> None:
    for wire in (
        frame(frames.HEADERS, 5, 2, b"\x88"),
        frame(frames.HEADERS, 5, 1, b"\x88"),
        frame(frames.DATA, 1, 1, b"x"),
        frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82\x86\x84\x41\x01a"),
        frame(frames.RST_STREAM, 0, 1, b"\0\0\0\1"),
    ):
        client = ClientConnection(Listener(), Options(), lambda _: None)
        client.start()
        client.feed(frames.settings([]))
        with pytest.raises(ConnectionFailed):
            client.feed(wire)


def test_custom_settings_are_told_by_both_ends() -> None:
    options = Options(custom_settings=((20, 5), (frames.MAX_HEADER_LIST_SIZE, 70_000)))
    for kind, sink in ((ServerConnection, Listener()), (ClientConnection, Listener())):
        said: list[bytes] = []
        kind(sink, options, said.append).start()
        assert frames.settings(options.custom_settings)[9:] in b"".join(said)
