"""Whatever happens in whatever order: nothing is left in flight, each request is counted once.

The events are drawn, not written; what comes of them is judged by the playbook's invariants and by
what a client may never see: two answers to one request, or an answer of somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from random import Random

import pytest

from proxy.config import model
from proxy.config.snapshot import Snapshot
from tests.support.playbook import Client, Playbook, Up, cluster, retries, route, snapshot

REQUESTS = [
    b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n",
    b"HEAD /%d HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /%d HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    b"GET /direct/%d HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /missing/%d HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    b"POST /%d HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
    b"POST /%d HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /%d HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX",
    b"garbage %d\r\n\r\n",
]
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nbody"
ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    UNTIL_CLOSE,
    b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbody",
    b"HTTP/1.1 503 No\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"garbage\r\n\r\n",
]
HEAD = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")

ACTIONS = [
    *["connect"] * 4,
    *["request"] * 12,
    *["rest of request"] * 6,
    *["accept"] * 10,
    *["answer"] * 12,
    *["rest of answer"] * 5,
    *["client stops", "client reads", "client reads", "client resets", "client leaves"],
    *["upstream stops", "upstream reads", "upstream reads", "upstream resets", "upstream leaves"],
    *["refuse", "time", "time", "time", "a second", "a second", "a minute"],
    *["push", "push", "drop cluster", *["bring it back"] * 4],
]


class Stage:
    """Carries out one drawn event after another; one that makes no sense now is left out."""

    def __init__(self, play: Playbook) -> None:
        self.play = play
        self.clients: list[Client] = []
        self.ups: list[Up] = []
        self.unsent: dict[int, bytes] = {}
        self.asked: dict[int, int] = {}
        self.endless: list[Up] = []
        self.number = 0

    def do(self, action: str, who: int, what: int, cut: int) -> None:
        ups = [up for up in self.ups if not up.transport.lost]
        clients = [client for client in self.clients if not client.transport.lost]
        if action == "connect" or (action == "request" and not clients):
            self.clients.append(self.play.client())
        elif action.startswith("client") or "request" in action:
            if clients:
                self._client(clients[who % len(clients)], action, what, cut)
        elif action.startswith("upstream") or "answer" in action:
            if ups:
                self._up(ups[who % len(ups)], action, what, cut)
        else:
            self._world(action)

    def _client(self, client: Client, action: str, what: int, cut: int) -> None:
        me = id(client)
        if action == "request":
            if self.unsent.get(me):
                return
            self.number += 1
            data = REQUESTS[what % len(REQUESTS)] % self.number
            self.asked[me] = self.asked.get(me, 0) + 1
            self._send(client, data, cut)
        elif action == "rest of request":
            self._send(client, self.unsent.get(me, b""), 1000)
        else:
            _peer(client, action.removeprefix("client "))

    def _up(self, up: Up, action: str, what: int, cut: int) -> None:
        if action == "answer":
            if not self.unsent.get(id(up)):
                if up in self.endless:  # whatever it says now is body
                    up.leave()
                    return
                good = ANSWERS[:2] * 3 + ANSWERS
                answer = good[(what + self.number) % len(good)]
                if answer is UNTIL_CLOSE:
                    self.endless.append(up)
                self._send(up, answer, cut)
        elif action == "rest of answer":
            self._send(up, self.unsent.get(id(up), b""), 1000)
        else:
            _peer(up, action.removeprefix("upstream "))

    def _send(self, peer: Client | Up, data: bytes, cut: int) -> None:
        self.unsent[id(peer)] = data[cut:]
        if data[:cut]:
            peer >> data[:cut]

    def _world(self, action: str) -> None:
        play = self.play
        if action == "accept" and play.openings:
            self.ups.append(play.accept())
        elif action == "refuse" and play.openings:
            play.opening().fail()
        elif action in (times := {"time": 0.05, "a second": 1.0, "a minute": 60.0}):
            play.tick(times[action])
        elif action == "push":
            play.apply(config(play, seed=self.number))
        elif action == "drop cluster":
            play.apply(config(play, clusters=()))
        elif action == "bring it back":
            play.apply(config(play))


def _peer(peer: Client | Up, action: str) -> None:
    actions: dict[str, Callable[[], None]] = {
        "leaves": peer.leave,
        "resets": peer.reset,
        "stops": peer.stop_reading,
        "reads": peer.read_on,
    }
    if action in actions:
        actions[action]()


LIMITS = model.Thresholds(max_connections=2, max_pending_requests=2, max_requests=3, max_retries=1)


def one_cluster(seed: int = 0) -> model.Cluster:
    return cluster(
        hosts=1 + seed % 3,
        thresholds_default=LIMITS,
        outlier=model.OutlierDetection(consecutive_5xx=2, max_ejection_percent=100),
        per_connection_buffer_limit_bytes=20,
    )


def config(play: Playbook, seed: int = 0, clusters: tuple[()] | None = None) -> Snapshot:
    listed = [one_cluster(seed)] if clusters is None else clusters
    return snapshot(list(play.config.listeners.values()), listed)


@cache
def conversation(seed: int, steps: int) -> frozenset[str]:
    """Leads one to its end. The flags of its access log."""
    policy = retries("5xx", num_retries=2, per_try_timeout_s=2.0, previous_hosts=True)
    table = (
        model.Route(model.RouteMatch(prefix="/direct"), model.DirectResponse(200, b"direct")),
        route("/missing", "missing"),
        route("/", retry=policy, timeout_s=10.0),
    )
    random = Random(seed)
    with Playbook(*table, clusters=[one_cluster()], stream_idle_timeout_s=30.0) as play:
        stage = Stage(play)
        for _ in range(steps):
            cut = random.choice((1000, 1000, 1000, random.randrange(1, 90)))
            stage.do(random.choice(ACTIONS), random.randrange(10), random.randrange(10), cut)
            play.check_counts()
        for client in stage.clients:
            answers = HEAD.findall(bytes(client.transport.written))
            assert len(answers) <= max(stage.asked.get(id(client), 0), 1)  # one: 408 or 400
    return frozenset(flag for _, flags, _ in play.logged for flag in flags.split(","))


@pytest.mark.parametrize("batch", range(20))
def test_any_conversation(batch: int) -> None:
    for seed in range(batch * 20, batch * 20 + 20):
        try:
            conversation(seed, 100)
        except Exception as error:
            raise AssertionError(f"conversation({seed}, 100)") from error


def test_everything_happens() -> None:
    """Else the conversations would say little."""
    flags = frozenset[str]().union(*(conversation(seed, 100) for seed in range(60)))
    assert {"", "DC", "DPE", "NC", "UC", "UF", "UO", "UPE", "URX", "UT"} <= flags
