"""The same over HTTP/2, with hedges, copies, throttles and internal redirects.

When all is over and everybody reads again, no stream may still wait, no window may be short, and no
connection that is kept may be deaf.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import h2.settings
import pytest
from h2.stream import StreamState

from proxy.config import model
from proxy.config.filters.decode_fault import TYPE_URL, FaultConfig, RateLimit
from proxy.l7.downstream_h2 import DownstreamH2
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.http2 import UpstreamH2
from tests.support.fake_loop import FakeTransport
from tests.support.h2_play import HTTP2, H2Client, H2End, H2Up, Settings
from tests.support.playbook import (
    ROUTER,
    Playbook,
    Up,
    cluster,
    listener,
    retries,
    route,
    routes,
    snapshot,
)

SENDING = (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE)
RECEIVING = (StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL)
LIMIT = 20_000
LONG = b"x" * 100_000
SMALL = model.Http2Options(initial_stream_window_size=65_535, initial_connection_window_size=65_535)
PATHS = ["/a/", "/b/", "/b/", "/hedge/a/", "/hedge/b/", "/copy/", "/elsewhere/", "/direct/"]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\ncontent-length: 30000\r\n\r\n" + LONG[:30_000],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nlocation: http://a/b/\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbody",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"garbage\r\n\r\n",
]
ACTIONS = [
    *["client asks"] * 12,
    *["client sends"] * 8,
    *["client ends"] * 6,
    *["client resets"] * 3,
    "client trails",
    *["client stops", "client reads", "client reads", "client takes", "client takes"],
    *["client keeps", "client breaks"],
    *["up accepts"] * 10,
    *["up answers"] * 12,
    *["up sends"] * 8,
    *["up ends"] * 6,
    *["up resets", "up trails", "up goes away", "up settles"],
    *["up stops", "up reads", "up reads", "up takes", "up takes", "up keeps"],
    *["up leaves", "up breaks", "refuse", "connect"],
    *["time"] * 4,
    *["a second"] * 2,
    "push",
    "drop",
]


def config(random: Random) -> list[model.Cluster]:
    limits = model.Thresholds(
        max_connections=2, max_pending_requests=3, max_requests=6, max_retries=2
    )
    made = []
    for name, http in (("a", model.HttpProtocolOptions()), ("b", HTTP2)):
        http = model.HttpProtocolOptions(version=http.version, http2=SMALL)
        fields = {"thresholds_default": limits, "per_connection_buffer_limit_bytes": LIMIT}
        made.append(cluster(name, hosts=random.randrange(1, 3), http=http, **fields))
    return made


def table() -> model.RouteConfiguration:
    policy = retries("5xx", num_retries=2, per_try_timeout_s=1.0, per_try_idle_timeout_s=2.0)
    redirect = model.InternalRedirectPolicy(response_codes=frozenset((302,)))
    copies = (model.MirrorPolicy("a"), model.MirrorPolicy("b"))
    common = {"retry": policy, "timeout_s": 10.0}
    return routes(
        model.Route(model.RouteMatch(prefix="/direct/"), model.DirectResponse(200, LONG)),
        route("/hedge/a/", "a", hedge_on_per_try_timeout=True, **common),
        route("/hedge/b/", "b", hedge_on_per_try_timeout=True, **common),
        route("/copy/", "b", mirrors=copies, **common),
        route("/elsewhere/", "a", internal_redirect=redirect, **common),
        route("/a/", "a", **common),
        route("/b/", "b", **common),
    )


def may(end: H2End, stream: int, size: int = 0, head: bool = False) -> bool:
    """Is it this end's turn to say more on the stream? head: a server's first word."""
    known = end.wire.streams.get(stream)
    if known is None or known.state_machine.state not in SENDING:
        return False
    if head or not known.state_machine.headers_sent:
        return head and not known.state_machine.headers_sent
    return not known.state_machine.trailers_sent and size <= end.wire.local_flow_control_window(
        stream
    )


class Stage:
    """Carries out one drawn event after another; one that makes no sense now is left out."""

    def __init__(self, play: Playbook, random: Random) -> None:
        self.play, self.random = play, random
        self.clients: list[H2Client] = []
        self.ups: list[H2Up] = []
        self.plain: list[Up] = []

    def do(self, action: str) -> None:
        who, _, what = action.partition(" ")
        if what == "accepts":
            self._accept()
        elif action == "connect" or (who == "client" and not self._alive(self.clients)):
            self.clients.append(H2Client(self.play))
        elif who == "client":
            self._end(self.random.choice(self._alive(self.clients)), what)
        elif who == "up":
            self._up(what)
        else:
            self._world(action)

    @staticmethod
    def _alive(ends: list) -> list:  # type: ignore[type-arg]
        return [end for end in ends if not end.peer.transport.closing]

    def _accept(self) -> None:
        if self.play.openings:
            if self.play.openings[0].pool.way.version == "HTTP2":
                self.ups.append(H2Up(self.play))
            else:
                self.plain.append(self.play.accept())

    def _up(self, what: str) -> None:
        plain = [up for up in self.plain if not up.transport.closing]
        ends = self._alive(self.ups)
        if plain and (not ends or self.random.random() < 0.5):
            self._plain(self.random.choice(plain), what)
        elif ends:
            self._end(self.random.choice(ends), what)

    def _plain(self, up: Up, what: str) -> None:
        connection = up.connection
        if what == "answers" and connection.active:
            data = self.random.choice(ANSWERS)
            up >> data[: self.random.choice((1000, 100_000, 100_000))]
        elif what == "sends" and connection.active:
            up >> b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"4\r\nbody\r\n" * 9
        elif what == "ends":
            up >> b"0\r\n\r\n"
        elif what == "leaves":
            up.leave()
        elif what == "breaks":
            up.reset()
        elif what == "stops":
            up.stop_reading()
        elif what == "reads":
            up.read_on()

    def _end(self, end: H2End, what: str) -> None:
        wire, random = end.wire, self.random
        known = sorted(end.streams)[-8:]
        stream = random.choice(known) if known else 0
        half = random.random() < 0.5
        if what == "asks" and isinstance(end, H2Client):
            room = end.wire.open_outbound_streams < 20 and wire.outbound_flow_control_window > 9000
            body = random.choice((b"", b"", b"hello", LONG[:9_000])) if room else b""
            method = random.choice(("GET", "POST", "HEAD"))
            end.ask(random.choice(PATHS), body, method, random.random() < 0.6)
        elif what == "answers" and may(end, stream, head=True):
            head = [(":status", random.choice(("200", "200", "204", "302", "503")))]
            wire.send_headers(stream, [*head, ("location", "http://a/a/")], end_stream=half)
        elif what == "sends" and may(end, stream, 9_000):
            wire.send_data(stream, LONG[:9_000])
        elif what == "ends" and may(end, stream):
            wire.end_stream(stream)
        elif what == "trails" and may(end, stream):
            wire.send_headers(stream, [("x-trailer", "1")], end_stream=True)
        elif what == "resets" and (may(end, stream) or may(end, stream, head=True)):
            wire.reset_stream(stream, random.choice((0, 7, 8)))
        elif what == "goes away":
            frame = b"\0\0\x08\x07\0\0\0\0\0" + stream.to_bytes(4, "big") + bytes(4)
            end.peer >> frame
        elif what == "settles":
            settings: Settings = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2}
            wire.update_settings(settings)
        else:
            self._habit(end, what)
        end.say()

    def _habit(self, end: H2End, what: str) -> None:
        habits: dict[str, Callable[[], None]] = {
            "stops": end.peer.stop_reading,
            "reads": end.peer.read_on,
            "leaves": end.peer.leave,
            "breaks": end.peer.reset,
            "takes": lambda: take(end),
            "keeps": lambda: setattr(end, "acknowledges", False),
        }
        if what in habits:
            habits[what]()

    def _world(self, action: str) -> None:
        play = self.play
        if action == "refuse" and play.openings:
            play.opening().fail()
        elif action in (times := {"time": 0.05, "a second": 1.0}):
            play.tick(times[action])
        elif action == "push":
            play.apply(snapshot(list(play.config.listeners.values()), config(self.random)))
        elif action == "drop":
            play.apply(snapshot(list(play.config.listeners.values()), config(self.random)[1:]))


def take(end: H2End) -> None:
    """Gives back all windows that were not."""
    end.acknowledges = True
    wire = end.wire
    missing = 65_535 - wire.inbound_flow_control_window
    if missing > 0:
        wire.increment_flow_control_window(missing)
    for number, stream in wire.streams.items():
        missing = 65_535 - stream.inbound_flow_control_window
        if missing > 0 and stream.state_machine.state in RECEIVING:
            wire.increment_flow_control_window(missing, number)


def come_to_rest(stage: Stage) -> None:
    """Everybody reads, nobody answers: time alone must end what is under way."""
    for _ in range(8):
        for end in [*stage.clients, *stage.ups]:
            end.peer.read_on()
            if not end.peer.transport.closing:
                take(end)
                end.say()
        for up in stage.plain:
            up.read_on()
        while stage.play.openings:
            stage.play.opening().fail()
        stage.play.tick(20.0)
    assert not stage.play.worker.streams


def judge(play: Playbook) -> None:
    """Of the connections that are kept."""
    for client in play.worker.connections:
        assert isinstance(client, DownstreamH2)
        assert not client.streams and not client._full and not client._stuck
        assert not client._codec._held and not client._codec.sending
    for host in (host for one in play._clusters for host in one.hosts):
        for up in host.connections:
            assert isinstance(up, UpstreamH1 | UpstreamH2)
            assert isinstance(up.transport, FakeTransport) and up.transport.reading
            if isinstance(up, UpstreamH2):
                assert not up._paused and not up._full and not up._sending and not up._halted
                assert not up._codec._held and not up._codec._open


def conversation(seed: int, steps: int = 120) -> Playbook:
    random = Random(seed)
    limit = RateLimit(64, model.FractionalPercent(100))
    slow = model.HttpFilter("slow", TYPE_URL, FaultConfig(rate_limit=limit))
    filters = (slow, ROUTER) if seed % 3 == 0 else (ROUTER,)
    inside = listener(
        table(), codec="HTTP2", buffer_limit=LIMIT, http2=SMALL, filters=filters,
        stream_idle_timeout_s=30.0,
    )  # fmt: skip
    with Playbook(config=snapshot([inside], config(random))) as play:
        stage = Stage(play, random)
        for _ in range(steps):
            stage.do(random.choice(ACTIONS))
            play.check_counts()
        come_to_rest(stage)
        judge(play)
    return play


@pytest.mark.parametrize("batch", range(4))
def test_any_h2_conversation(batch: int) -> None:
    for seed in range(batch * 10, batch * 10 + 10):
        try:
            conversation(seed)
        except Exception as error:
            raise AssertionError(f"conversation({seed})") from error


def test_everything_happens() -> None:
    flags: set[str] = set()
    for seed in range(60, 85):
        for _, these, _ in conversation(seed).logged:
            flags.update(these.split(","))
    assert {"", "DR", "DC", "NC", "UC", "UF", "UO", "UR", "URX", "UT"} <= flags
