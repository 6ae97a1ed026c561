"""A conversation through the data path without sockets: what goes in, what must come out.

    with Playbook() as play:
        client = play.client()
        client >> b"GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n"
        up = play.accept()                   # the connection that the proxy asked for
        up << b"GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n"
        up >> b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok"
        client << b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok"

`>>` goes into the proxy, `<<` is what came out since (`date` lines aside). Everything between is
the real thing, compiled from a snapshot; the clock moves by `play.tick`. However a conversation
goes, its end must leave nothing in flight and each request counted once: `settle` checks that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from contextlib import ExitStack
from random import Random
from typing import Any, Self, cast

from proxy import outbox
from proxy.compile.health import Watches
from proxy.compile.runtime import Runtime
from proxy.config import model
from proxy.config.filters.decode_router import RouterConfig
from proxy.config.snapshot import Snapshot
from proxy.connection import ConnectionInfo
from proxy.demand import Demand
from proxy.l7.downstream_h1 import DownstreamH1
from proxy.l7.logged import Logged
from proxy.l7.worker import Worker
from proxy.stats import Stats
from proxy.upstream import retry
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.http2 import UpstreamH2
from proxy.upstream.pool import Pool
from tests.support.fake_loop import FakeLoop, FakeTransport

DATE = re.compile(rb"date: [^\r]*\r\n")
ROUTER = model.HttpFilter("router", "type.googleapis.com/router", RouterConfig(True))
LOG = model.AccessLog("log")


def cluster(name: str = "a", hosts: int = 1, **fields: Any) -> model.Cluster:
    """A static cluster with hosts 10.0.0.1 and up."""
    endpoints = [
        model.Endpoint(model.SocketAddress(f"10.0.0.{at}", 80)) for at in range(1, hosts + 1)
    ]
    group = model.LocalityEndpoints(("", "", ""), tuple(endpoints))
    assignment = model.ClusterLoadAssignment(name, (group,))
    return model.Cluster(name, load_assignment=assignment, **fields)


def route(prefix: str = "/", name: str = "a", **fields: Any) -> model.Route:
    """A route to the cluster `name`; fields of its `RouteAction`."""
    return model.Route(model.RouteMatch(prefix=prefix), model.RouteAction(name, **fields))


def retries(*on: str, **fields: Any) -> model.RetryPolicy:
    return model.RetryPolicy(frozenset(on), **fields)


def routes(*listed: model.Route, **fields: Any) -> model.RouteConfiguration:
    host = model.VirtualHost("all", ("*",), tuple(listed), **fields)
    return model.RouteConfiguration("routes", (host,))


def listener(
    table: model.RouteConfiguration | None = None,
    name: str = "in",
    buffer_limit: int = 1 << 20,
    **fields: Any,
) -> model.Listener:
    """One chain that adds nothing to a request or an answer but `date`. table None: by RDS."""
    plain: dict[str, Any] = {
        "stat_prefix": name,
        "codec": "HTTP1",
        "generate_request_id": False,
        "server_header": "PASS_THROUGH",
        "filters": (ROUTER,),
        "suppress_envoy_headers": True,
        "access_log": (LOG,),
        "route_config": table,
        "rds_name": "" if table is not None else "routes",
    }
    manager = model.HttpConnectionManager(**{**plain, **fields})
    chain = model.FilterChain(model.FilterChainMatch(), manager)
    address = model.SocketAddress("127.0.0.1", 80)
    return model.Listener(name, address, (chain,), per_connection_buffer_limit_bytes=buffer_limit)


def snapshot(
    listeners: Sequence[model.Listener],
    clusters: Sequence[model.Cluster] = (),
    **fields: Any,
) -> Snapshot:
    return Snapshot(
        {one.name: one for one in listeners}, {one.name: one for one in clusters}, **fields
    )


class Peer:
    """The far end of one connection of the proxy's."""

    def __init__(self, play: Playbook, transport: FakeTransport) -> None:
        self.play, self.transport = play, transport
        self._seen = 0

    def __rshift__(self, data: bytes) -> Peer:
        """Sends `data` to the proxy."""
        self.transport.receive(data)
        self.play.loop.advance()
        return self

    def __lshift__(self, expected: bytes) -> Peer:
        """Expects exactly `expected` since the last look."""
        came = self.take()
        assert came == expected, f"\n  came     {came!r}\n  expected {expected!r}"
        return self

    def take(self) -> bytes:
        """What came since the last look, without `date` lines and what the tests do not vary."""
        new = bytes(self.transport.written[self._seen :])
        self._seen = len(self.transport.written)
        return DATE.sub(b"", new).replace(b"x-forwarded-proto: http\r\n", b"")

    @property
    def closed(self) -> bool:
        """The proxy will send no more: it closed, or its half."""
        return self.transport.closing or self.transport.wrote_eof

    def leave(self) -> None:
        """Closes in order."""
        self.transport.receive_eof()
        self.play.loop.advance()

    def reset(self) -> None:
        """Breaks off."""
        self.transport.lose(ConnectionResetError())
        self.play.loop.advance()

    def stop_reading(self) -> None:
        self.transport.stuck = True

    def read_on(self) -> None:
        self.transport.release()
        self.play.loop.advance()


class Client(Peer):
    def __init__(self, play: Playbook, down: DownstreamH1, transport: FakeTransport) -> None:
        super().__init__(play, transport)
        self.down = down


class Up(Peer):
    def __init__(
        self, play: Playbook, connection: UpstreamH1 | UpstreamH2, transport: FakeTransport
    ) -> None:
        super().__init__(play, transport)
        self.connection = connection
        self.host = connection.host


class Opening:
    """A connection that the proxy wants; it is for the test to let it come to be."""

    def __init__(self, play: Playbook, pool: Pool) -> None:
        self.play, self.pool = play, pool
        self.cluster, self.host, self.breaker = pool.cluster, pool.host, pool.breaker

    def accept(self) -> Up:
        h2 = self.pool.way.version == "HTTP2"
        connection = UpstreamH2(self.pool) if h2 else UpstreamH1(self.pool)
        transport = FakeTransport(self.play.loop, connection)
        connection.connection_made(transport)
        connection.adopt(self.play.loop.now)
        self.pool.on_open(connection, 1.0)
        outbox.flush()
        up = Up(self.play, connection, transport)
        self.play.peers.append(up)
        return up

    def fail(self, detail: str = "refused", timed_out: bool = False) -> None:
        reason = retry.CONNECT_TIMEOUT if timed_out else retry.CONNECT_FAILURE
        self.pool.on_open_failed(reason, detail, timed_out)
        outbox.flush()


class Lines(list[bytes]):
    """Where event logs are written."""

    def write(self, line: bytes) -> None:
        self.append(line)


class Playbook:
    """`logged` are the ended streams in order, as (status, flags, detail); `received`: how many
    bytes of a body each had."""

    def __init__(
        self,
        *table: model.Route,
        clusters: Sequence[model.Cluster] | None = None,
        config: Snapshot | None = None,
        seed: int = 1,
        **manager: Any,
    ) -> None:
        self.loop = FakeLoop()
        self.stats = Stats()
        self.worker = Worker(Random(seed), self.stats)
        self.peers: list[Peer] = []
        self.openings: list[Opening] = []
        self.logged: list[tuple[int, str, str]] = []
        self.received: list[int] = []
        self._clusters: set[Cluster] = set()
        self._hosts: set[Host] = set()
        self._stack = ExitStack()
        self.events = Lines()
        watches = Watches(lambda _: self.events, "events")
        self.demand = Demand(self.worker.call_later, self.loop.time)
        self.runtime = Runtime(
            self.worker,
            self.stats,
            self._open,
            lambda _: self._log,
            watches=watches,
            demand=self.demand,
        )
        self.config = config or snapshot(
            [listener(routes(*(table or (route(),))), **manager)],
            (cluster(),) if clusters is None else clusters,
        )

    def _open(self, pool: Pool) -> None:
        self._hosts.add(pool.host)
        self.openings.append(Opening(self, pool))

    def _log(self, stream: Logged) -> None:
        self.logged.append((stream.status, stream.flags, stream.detail))
        self.received.append(stream.bytes_received)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.loop.running())
        self.apply(self.config)
        self.worker.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            outbox._speaking.clear()
            self._stack.close()

    def apply(self, config: Snapshot, problems: Set[str] = frozenset()) -> None:
        """Puts a snapshot in force; exactly `problems` can't be."""
        self.config = config
        assert self.runtime.apply(config).keys() == problems
        routes = config.routes.items()
        fetching = {k: v.ignore_port_in_host_matching for k, v in routes if v.fetches_hosts}
        self.demand.settle(fetching, config.answers)
        self._clusters |= set(self.runtime.clusters.running.values())

    def client(self, name: str = "in") -> Client:
        """A new connection to the listener `name`."""
        info = ConnectionInfo(("192.0.2.1", 5000), ("127.0.0.1", 80), ("127.0.0.1", 80))
        down = cast(DownstreamH1, self.runtime.listeners[name].chains[0].connect(info))
        transport = FakeTransport(self.loop, down)
        down.connection_made(transport)
        client = Client(self, down, transport)
        self.peers.append(client)
        return client

    def opening(self) -> Opening:
        """The connection asked for longest ago."""
        assert self.openings, "the proxy asked for no connection"
        return self.openings.pop(0)

    def accept(self) -> Up:
        return self.opening().accept()

    def upstream(self) -> Up:
        """The connection that is asked for, or else the last one that was accepted."""
        if self.openings:
            return self.accept()
        return next(peer for peer in reversed(self.peers) if isinstance(peer, Up))

    def tick(self, seconds: float) -> None:
        """Time goes by: sweeps, back-offs and delayed closes come at their time."""
        self.loop.advance(seconds)

    def count(self, name: str) -> int:
        """A counter or gauge, `http.in.` or `cluster.a.` left out."""
        for table in (self.stats.counters, self.stats.gauges):
            for prefix in ("http.in.", "cluster.a.", ""):
                if (found := table.get(prefix + name)) is not None:
                    return int(found.value)
        raise KeyError(name)

    def cluster(self, name: str = "a") -> Cluster:
        return self.runtime.clusters.running[name]

    # ------------------------------------------------------------------ the end

    def settle(self) -> None:
        """All peers leave; then nothing may be in flight and every request counted once."""
        self.check_counts()
        for peer in self.peers:
            peer.transport.release()
            peer.reset()
        while self.openings:
            self.opening().fail()
        self.tick(60.0)
        assert not self.openings, "opens connections for nobody"
        self.check_counts()
        assert not self.worker.streams
        assert not self.worker.connections
        assert not outbox._speaking
        for one in self._clusters:
            _check_breakers(one)
        for host in self._hosts:
            _check_host(host)
        assert len(self.logged) == self._sums("downstream_rq_total")[0]

    def check_counts(self) -> None:
        """True at any time: a request is in flight, or was answered, or was lost."""
        total, active, ended, reset, informed = self._sums(
            "downstream_rq_total",
            "downstream_rq_active",
            "downstream_rq_completed",
            "downstream_rq_rx_reset",
            "downstream_rq_1xx",
        )
        ended += reset - informed + sum(status == 101 for status, *_ in self.logged)
        ended += sum(detail == "internal_redirect" for *_, detail in self.logged)
        # An answer that the client resets over HTTP/2 counts as both (Envoy).
        ended -= sum(
            status > 0 and detail.startswith("http2.") for status, _, detail in self.logged
        )
        assert total == ended + len(self.worker.streams), (total, ended)
        assert active == len(self.worker.streams)

    def _sums(self, *names: str) -> list[int]:
        """Of all connection managers; looks through the statistics once."""
        sums = dict.fromkeys(names, 0)
        for table in (self.stats.counters, self.stats.gauges):
            for key, one in table.items():
                if key.startswith("http.") and (name := key.rpartition(".")[2]) in sums:
                    sums[name] += one.value
        return list(sums.values())


def _check_breakers(one: Cluster) -> None:
    for breaker in one.breakers.values():
        left = (breaker.connections, breaker.pending, breaker.requests, breaker.retries)
        assert left == (0, 0, 0, 0), f"{one.name} (connections, pending, requests, retries)"


def _check_host(host: Host) -> None:
    assert host.active == 0, host
    assert not host.pools and not host.connections, host
