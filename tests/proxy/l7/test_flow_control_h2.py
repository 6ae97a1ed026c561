"""A slow reader over HTTP/2, on either side, stops the other; no queue grows behind its window."""

from __future__ import annotations

import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration

from proxy import outbox
from proxy.config import model
from proxy.upstream.http2 import UpstreamH2
from tests.support.fake_loop import FakeTransport
from tests.support.playbook import (
    Client,
    Opening,
    Playbook,
    cluster,
    listener,
    retries,
    route,
    routes,
    snapshot,
)

LIMIT = 20_000
PIECE = b"x" * 6_000
WINDOW = 65_535  # of a peer that says nothing else (RFC 9113 section 6.9.2)
SMALL = model.Http2Options(initial_stream_window_size=65_535, initial_connection_window_size=65_535)
HEADERS = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]


class Peer:
    """The far end of an HTTP/2 connection: takes what comes, gives no window back by itself."""

    def __init__(self, transport: FakeTransport, client_side: bool) -> None:
        self.transport = transport
        self.h2 = h2.connection.H2Connection(H2Configuration(client_side, "utf-8"))
        self.events: list[h2.events.Event] = []
        self._seen = 0
        self.h2.initiate_connection()

    def turn(self) -> None:
        """Says what it has to say and reads what came, until there is nothing more."""
        while True:
            self.transport.receive(self.h2.data_to_send())
            self.transport.loop.advance()
            new = bytes(self.transport.written[self._seen :])
            self._seen += len(new)
            self.events += self.h2.receive_data(new)
            if not new:
                return

    @property
    def data(self) -> int:
        """Bytes of bodies that came."""
        return sum(len(e.data) for e in self.events if isinstance(e, h2.events.DataReceived))

    def take(self, stream_id: int) -> None:
        """Gives the window back, again and again, as a reader that keeps up."""
        for _ in range(100):
            if any(isinstance(event, h2.events.StreamEnded) for event in self.events):
                return
            self.h2.increment_flow_control_window(10_000)
            self.h2.increment_flow_control_window(10_000, stream_id)
            self.turn()


def playbook(**fields: object) -> Playbook:
    one = cluster(per_connection_buffer_limit_bytes=LIMIT, **fields)  # type: ignore[arg-type]
    table = routes(route(timeout_s=0.0, retry=retries("5xx")))
    inbound = listener(table, buffer_limit=LIMIT, codec="AUTO", http2=SMALL)
    return Playbook(config=snapshot([inbound], [one]))


def h2_client(play: Playbook) -> tuple[Client, Peer]:
    client = play.client()
    peer = Peer(client.transport, client_side=True)
    peer.turn()
    return client, peer


def accept_h2(opening: Opening) -> Peer:
    connection = UpstreamH2(opening.pool)
    transport = FakeTransport(opening.play.loop, connection)
    connection.connection_made(transport)
    connection.adopt(opening.play.loop.now)
    opening.pool.on_open(connection, 1.0)
    connection.begin_reading()
    outbox.flush()
    opening.play.peers.append(_Leaving(opening.play, transport))
    peer = Peer(transport, client_side=False)
    peer.turn()
    return peer


class _Leaving(Client):
    """An upstream connection that the playbook ends."""

    def __init__(self, play: Playbook, transport: FakeTransport) -> None:
        super().__init__(play, None, transport)  # type: ignore[arg-type]


HTTP2 = {"http": model.HttpProtocolOptions(version="HTTP2", http2=SMALL)}


def test_a_client_whose_window_is_used_up_stops_the_upstream() -> None:
    with playbook() as play:
        _, peer = h2_client(play)
        peer.h2.send_headers(1, [(":method", "GET"), *HEADERS[1:]], end_stream=True)
        peer.turn()
        up = play.accept()
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 600000\r\n\r\n"
        sent = 0
        while up.transport.reading and sent < 600_000:
            up >> PIECE
            sent += len(PIECE)
            peer.turn()
        assert sent <= WINDOW + LIMIT + 2 * len(PIECE) and peer.data <= WINDOW
        while sent < 600_000:
            peer.take(1)
            before = sent
            while up.transport.reading and sent < 600_000:
                up >> PIECE
                sent += len(PIECE)
            assert sent > before
        peer.take(1)
        assert peer.data == 600_000
        assert play.logged == [(200, "", "via_upstream")]


def test_an_upstream_whose_window_is_used_up_stops_a_client_of_http1() -> None:
    with playbook(**HTTP2) as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 600000\r\n\r\n"
        peer = accept_h2(play.opening())
        sent = 0
        while client.transport.reading and sent < 600_000:
            client >> PIECE
            sent += len(PIECE)
            peer.turn()
        assert sent <= WINDOW + LIMIT + 3 * len(PIECE)
        while sent < 600_000:
            peer.take(1)
            before = sent
            while client.transport.reading and sent < 600_000:
                client >> PIECE
                sent += len(PIECE)
            assert sent > before
        peer.take(1)
        assert peer.data == 600_000
        peer.h2.send_headers(1, [(":status", "204")], end_stream=True)
        peer.turn()
        assert client.take().startswith(b"HTTP/1.1 204 ")


def test_a_body_that_waits_for_a_full_upstream_does_not_open_the_client_again() -> None:
    """What was kept while connecting is more than the upstream's window: nothing more is read."""
    with playbook(**HTTP2) as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 600000\r\n\r\n" + b"x" * 120_000
        client >> b"x" * 1000
        assert not client.transport.reading
        peer = accept_h2(play.opening())
        assert not client.transport.reading
        peer.take(1)
        assert client.transport.reading
        client.reset()


@pytest.mark.parametrize("upstream", ["HTTP1", "HTTP2"])
def test_a_slow_upstream_holds_the_clients_window_back(upstream: str) -> None:
    with playbook(**(HTTP2 if upstream == "HTTP2" else {})) as play:
        client, peer = h2_client(play)
        peer.h2.send_headers(1, HEADERS)
        peer.turn()
        opening = play.opening()
        far = accept_h2(opening) if upstream == "HTTP2" else opening.accept()
        far.transport.stuck = True
        sent = 0
        while (room := peer.h2.local_flow_control_window(1)) > 0 and sent < 600_000:
            peer.h2.send_data(1, b"x" * min(room, 6_000))
            sent += min(room, 6_000)
            peer.turn()
        assert sent < 2 * WINDOW + LIMIT, "the window is given back though nobody takes the body"
        assert len(far.transport.buffered) < 2 * WINDOW + LIMIT
        client.reset()
