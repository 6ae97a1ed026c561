"""A TCP conversation through the relay without sockets, compiled from a snapshot as in `playbook`.

    with TcpPlay() as play:
        client = play.client()
        up = play.accept()           # the connection that the proxy asked for
        client.say(b"hi")
        assert up.take() == b"hi"

`settle`, at the end, checks that nothing is left in flight and each connection is logged once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from random import Random
from typing import Any, Literal, Self, cast

from proxy.compile.runtime import NOBODY, Runtime
from proxy.config import model
from proxy.config.model.istio import IstioStats
from proxy.config.snapshot import Snapshot
from proxy.connection import ConnectionInfo
from proxy.demand import Demand
from proxy.l4.record import ConnectionRecord
from proxy.l4.tcp import DownstreamTcp
from proxy.l7.worker import Worker
from proxy.stats import Stats
from proxy.upstream import retry
from proxy.upstream.dial import DialFailure
from proxy.upstream.host import Host
from proxy.upstream.tcp import UpstreamTcp
from proxy.upstream.tcp_end import TcpEnd
from tests.support.fake_loop import FakeLoop, FakeTransport
from tests.support.playbook import LOG, cluster


class TcpPeer:
    """The far end of one connection of the proxy's."""

    def __init__(self, play: TcpPlay, end: TcpEnd) -> None:
        self.play, self.end = play, end
        self.transport = FakeTransport(play.loop, end)
        end.connection_made(self.transport)
        self._seen = 0
        play.peers.append(self)

    def say(self, data: bytes) -> None:
        self.transport.receive(data)
        self.play.tick()

    def end_half(self) -> None:
        self.transport.receive_eof()
        self.play.tick()

    def break_off(self) -> None:
        self.transport.lose(ConnectionResetError())
        self.play.tick()

    def take(self) -> bytes:
        """What came since the last look."""
        new = bytes(self.transport.written[self._seen :])
        self._seen = len(self.transport.written)
        return new

    @property
    def state(self) -> str:
        """How the proxy left it: open, half (it said its end), closed or aborted."""
        transport = self.transport
        if transport.aborted:
            return "aborted"
        if transport.closing:
            return "closed"
        return "half" if transport.wrote_eof else "open"


class TcpPlay:
    """records: of the connections that have ended. fields: of the `TcpProxy`. counted: Istio's
    metrics of the filter chain; node: whose they are."""

    def __init__(
        self,
        clusters: Sequence[model.Cluster] | None = None,
        buffer_limit: int = 1 << 20,
        counted: IstioStats | None = None,
        node: model.Node = NOBODY,
        direction: Literal["INBOUND", "OUTBOUND"] = "OUTBOUND",
        **fields: Any,
    ) -> None:
        self.loop = FakeLoop()
        self.stats = Stats()
        self.worker = Worker(Random(1), self.stats)
        self.peers: list[TcpPeer] = []
        self.openings: list[UpstreamTcp] = []
        self.records: list[ConnectionRecord] = []
        self.demand = Demand(self.loop.call_later, lambda: self.loop.now)
        self.runtime = Runtime(
            *(self.worker, self.stats, no_http, lambda _: self._log, self.openings.append),
            demand=self.demand,
            node=node,
        )
        self._clients = 0
        self._stack = ExitStack()
        self._clusters = [cluster()] if clusters is None else clusters
        plain = {"stat_prefix": "in", "cluster": "a", "access_log": (LOG,)}
        proxy = model.TcpProxy(**{**plain, **fields})
        chain = model.FilterChain(model.FilterChainMatch(), tcp=proxy, counted=counted)
        address = model.SocketAddress("127.0.0.1", 80)
        self.listener = model.Listener(
            "in",
            address,
            (chain,),
            per_connection_buffer_limit_bytes=buffer_limit,
            traffic_direction=direction,
        )

    def _log(self, record: object) -> None:
        self.records.append(cast(ConnectionRecord, record))

    def __enter__(self) -> Self:
        self._stack.enter_context(self.loop.running())
        self.apply({"in": self.listener}, self._clusters)
        self.worker.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._stack.close()

    def apply(
        self, listeners: dict[str, model.Listener], clusters: Sequence[model.Cluster]
    ) -> None:
        self.runtime.apply(Snapshot(listeners, {one.name: one for one in clusters}))

    def client(self, sni: str = "") -> TcpPeer:
        info = ConnectionInfo(("192.0.2.1", 5000), ("127.0.0.1", 80), ("127.0.0.1", 80))
        info.sni = sni
        self._clients += 1
        down = self.runtime.listeners["in"].chains[0].connect(info)
        peer = TcpPeer(self, cast(DownstreamTcp, down))
        self.tick()
        return peer

    def accept(self) -> TcpPeer:
        """Lets the connection asked for longest ago come to be."""
        up = self.openings.pop(0)
        peer = TcpPeer(self, up)
        up.opened(self.loop.now)
        self.tick()
        return peer

    def refuse(self, timed_out: bool = False) -> Host:
        """Lets it fail; answers the host that it went to."""
        up = self.openings.pop(0)
        reason = retry.CONNECT_TIMEOUT if timed_out else retry.CONNECT_FAILURE
        up.failed(DialFailure(reason, "" if timed_out else "refused", timed_out), self.loop.now)
        self.tick()
        return up.host

    def tick(self, seconds: float = 0.0) -> None:
        self.loop.advance(seconds)

    def count(self, name: str) -> int:
        """A counter or gauge, `tcp.in.` or `cluster.a.` left out."""
        for table in (self.stats.counters, self.stats.gauges):
            for prefix in ("tcp.in.", "cluster.a.", ""):
                if (found := table.get(prefix + name)) is not None:
                    return int(found.value)
        raise KeyError(name)

    def settle(self) -> None:
        """All peers leave: nothing may be in flight."""
        for peer in self.peers:
            peer.transport.release()
            peer.transport.lose(ConnectionResetError())
        while self.openings:
            self.refuse()
        self.tick(5.0)
        assert len(self.records) == self._clients == self.count("downstream_cx_total")
        assert not self.runtime._tcp_connections.live
        assert self.count("upstream_flush_active") == 0
        for one in self.runtime.clusters.running.values():
            breaker = one.breakers["DEFAULT"]
            assert (breaker.connections, breaker.requests) == (0, 0), one.name
            assert all(not (host.active or host.connections) for host in one.hosts)


def no_http(*_: object) -> None:
    raise AssertionError("no HTTP connection is wanted here")
