"""What an end leaves: of a stream its queue, of a GOAWAY its refusals, of settings their force."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.http.h2 import (
    ClientConnection,
    ConnectionFailed,
    Options,
    ServerConnection,
    errors,
    frames,
)
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from tests.support.h2_codec import Event, Listener

SMALL = Options(initial_stream_window_size=65535, initial_connection_window_size=65535)
POST = Request(b"POST", b"/", b"a", Headers.of([(b"x-a", b"1" * 20)]), -1)


class Ends:
    """A client and a server; what one says waits in a list until `pass_on`."""

    def __init__(self, options: Options) -> None:
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.client_sink, self.server_sink = Listener(), Listener()
        self.client = ClientConnection(self.client_sink, options, self.up.append)
        self.server = ServerConnection(self.server_sink, options, self.down.append)
        self.client.start()
        self.server.start()
        self.pass_on()

    def pass_on(self) -> None:
        while self.up or self.down:
            said, self.up[:] = b"".join(self.up), []
            self.server.feed(said)
            said, self.down[:] = b"".join(self.down), []
            self.client.feed(said)

    def requests(self) -> list[Event]:
        return [event for event in self.server_sink.events if event[0] == "request"]


def test_what_waited_for_a_stream_that_was_reset_is_never_sent() -> None:
    ends = Ends(SMALL)
    one, two = ends.client.new_stream(), ends.client.new_stream()
    for stream_id in (one, two):
        ends.client.send_head(stream_id, POST, False)
        ends.client.send_data(stream_id, b"x" * 70_000, True)
    ends.client.reset(one, errors.CANCEL)
    assert ends.client.queued(one) == 0
    ends.pass_on()
    bodies = {event[1]: (len(event[-2]), event[-1]) for event in ends.requests()}
    assert bodies[two] == (70_000, True), "the windows are free for the other one"
    assert bodies[one][1] is False


def test_the_peer_may_forbid_the_dynamic_table() -> None:
    ends = Ends(dataclasses.replace(Options(), hpack_table_size=0))
    for _ in range(5):
        ends.client.send_head(ends.client.new_stream(), POST, True)
        ends.pass_on()
    assert [event[5] for event in ends.requests()] == [list(POST.headers)] * 5


def test_a_setting_must_not_push_a_window_over_its_bound() -> None:
    ends = Ends(SMALL)
    ends.client.send_head(ends.client.new_stream(), POST, True)
    ends.pass_on()
    ends.server.feed(frames.window_update(1, 1000))
    settings = frames.settings([(frames.INITIAL_WINDOW_SIZE, 0x7FFFFFFF - 999)])
    with pytest.raises(ConnectionFailed) as failed:
        ends.server.feed(settings)
    assert failed.value.code == errors.FLOW_CONTROL_ERROR


def test_a_request_behind_a_goaway_is_refused() -> None:
    ends = Ends(Options())
    ends.client.send_head(ends.client.new_stream(), POST, True)
    ends.pass_on()
    ends.server.goaway()
    ends.down.clear()  # the client does not know of it yet
    late = ends.client.new_stream()
    ends.client.send_head(late, POST, True)
    ends.pass_on()
    assert [event[1] for event in ends.requests()] == [1]
    assert ["reset", late, errors.REFUSED_STREAM, "http2.remote_refuse"] in ends.client_sink.events
    ends.server.send_head(1, Response(204, Headers()), True)
    ends.pass_on()
    assert ends.client_sink.events[-1][:3] == ["response", 1, 204], "what was taken goes on"


@pytest.mark.parametrize("trailing", [False, True])
def test_a_reset_stands_behind_the_message_with_or_without_trailers(trailing: bool) -> None:
    ends = Ends(SMALL)
    stream = ends.client.new_stream()
    ends.client.send_head(stream, POST, False)  # and says no end
    ends.pass_on()
    ends.server.send_head(stream, Response(200, Headers()), False)
    ends.server.send_data(stream, b"x" * 70_000, not trailing)
    if trailing:
        ends.server.send_trailers(stream, Headers.of([(b"x-end", b"1")]))
    ends.server.reset_behind(stream, errors.NO_ERROR)
    assert ends.server.streams == 1
    ends.pass_on()
    assert ends.server.streams == 0
    assert ends.client_sink.events[-1][0] == "reset"
