"""One TCP connection from a client, relayed to one host: Envoy's `tcp_proxy`.

    connecting (nothing is read) -> relaying -> each direction ends by itself -> both are closed

The upstream is dialled at once, so that servers which speak first are heard. An end of one
direction is passed on as such (FIN, or TLS's close_notify); where nobody is left to tell, the
connection is closed as soon as the other direction has fallen silent. Closing loses nothing that
was received, save when a peer broke off: that is passed on too (RST).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from protos.types import CDS
from proxy.http.h1.grammar import authority_match
from proxy.l4.record import ConnectionRecord, Downstream, Opened
from proxy.l4.tunnel import HttpTunnel
from proxy.upstream.own_address import own_address
from proxy.upstream.tcp import UpstreamTcp
from proxy.upstream.tcp_end import TcpEnd

if TYPE_CHECKING:
    import asyncio

    from proxy.connection import ConnectionInfo
    from proxy.http.message import Request
    from proxy.l4.guard import Cancel, TurnedAway
    from proxy.l4.manager import TcpManager
    from proxy.l4.meter import Metered
    from proxy.upstream.balance.context import PickRoute
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.dial import DialFailure
    from proxy.upstream.host import Host

# Picks that may be thrown away to try another host than those that failed.
HOST_SELECTION_ATTEMPTS = 5
# Silence after which a direction that can't be told of the other's end is over too.
SILENCE_S = 1.0


class DownstreamTcp(TcpEnd):
    """ended: one direction is over and there is no way to say so, or nobody to say it to.
    mark: how much had moved at idle_since."""

    __slots__ = (
        "_down_eof",
        "_end_guarding",
        "_ended",
        "_ends_at",
        "_flushing",
        "_guarded",
        "_held",
        "_idle_since",
        "_mark",
        "_metered",
        "_tried",
        "_up_eof",
        "info",
        "manager",
        "record",
        "route",
        "up",
    )

    # What policies may want to know of whom they pick for: a connection has no more to tell.
    request: Request | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})
    tried_priorities: frozenset[int] = frozenset()

    def __init__(self, manager: TcpManager, info: ConnectionInfo) -> None:
        super().__init__()
        self.manager = manager
        self.info = info
        self.up: UpstreamTcp | HttpTunnel | None = None
        self.record = ConnectionRecord(Downstream(info), manager.chain, monotonic())
        self._tried: list[Host] = []
        self._down_eof = self._up_eof = False
        self._ended = False
        self._flushing = False
        self._guarded = manager.guards is not None
        self._held: list[bytes] | None = None
        self._end_guarding: Cancel | None = None
        self._mark = (0, 0, 0, 0)
        self._metered: Metered | None = None
        self._idle_since = self.record.started
        self.route: PickRoute | None = manager.route
        self._ends_at = manager.ends_at(self.record.started)

    # ------------------------------------------------------------------ connecting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.set_write_buffer_limits(high=self.manager.buffer_limit_bytes)
        self.manager.stats.downstream_cx_total.value += 1
        self.manager.connections.live.add(self)
        self._connect()

    def _connect(self, name: str = "") -> None:
        """One attempt, to a host that was not tried before if there is one. name: of the cluster,
        for who has waited for it."""
        record = self.record
        chosen = name or self.manager.choose()
        cluster = record.cluster = self.manager.cluster(chosen)
        if cluster is None:
            if name or not self._waits_for(chosen):
                self.manager.stats.downstream_cx_no_route.value += 1
                self._refuse("NC")
            return
        breaker = cluster.breakers["DEFAULT"]
        if breaker.connections >= breaker.max_connections:
            cluster.stats.upstream_cx_overflow.value += 1
            self._refuse("UO")
            return
        host = self._pick(cluster)
        if host is None:
            cluster.stats.upstream_cx_none_healthy.value += 1
            self._refuse("UH")
            return
        self._tried.append(host)
        record.attempt += 1
        record.host = host
        self._dial(cluster.serving(host), host)

    def _waits_for(self, name: str) -> bool:
        """Whether the cluster that is missing may yet come, or the connection has been refused."""
        manager = self.manager
        demand, timeout_s = manager.demand, manager.config.on_demand_s
        if demand is None or timeout_s is None:
            return False
        manager.stats.on_demand_cluster_attempt.value += 1
        then = partial(self._on_answer, name)
        asked = demand.wait((CDS, name), then, timeout_s, self.info.remote[0])
        if asked == "answered":
            manager.stats.on_demand_cluster_missing.value += 1
        elif asked == "full":
            self._refuse("UO")
        return asked != "answered"

    def _on_answer(self, name: str, answer: bool | None) -> None:
        """The cluster is there, is not, or (None) nobody has said so in time."""
        stats = self.manager.stats
        if answer:
            stats.on_demand_cluster_success.value += 1
        elif answer is None:
            stats.on_demand_cluster_timeout.value += 1
        else:
            stats.on_demand_cluster_missing.value += 1
        if self.transport is not None:
            self._connect(name)

    def _dial(self, cluster: Cluster, host: Host) -> None:
        tunnels = self.manager.tunnels
        if tunnels is None:
            self.up = tcp = UpstreamTcp(cluster, host, self)
            self.manager.open_tcp(tcp)
            return
        tunnel = HttpTunnel(tunnels, cluster, host, self, self.record)
        if authority_match(tunnel.request.authority) is None:  # of what the client has said, maybe
            self.record.failure = "the tunnel's hostname is none"
            self._refuse("DPE")
            return
        self.up = tunnel
        if not tunnel.lease():
            self.up = None
            self._refuse("UO")

    def _pick(self, cluster: Cluster) -> Host | None:
        host = None
        for at in range(HOST_SELECTION_ATTEMPTS + 1):
            host = cluster.pick_again(self, at)
            if host not in self._tried:
                break
        return host

    def _refuse(self, flag: str) -> None:
        """What came already will be answered by nobody: the kernel would say so by a reset, too."""
        self.record.flag(flag)
        if self.early:
            self.reset()
        else:
            self.abort()

    def on_open(self) -> None:
        self._idle_since = monotonic()
        up = self.up
        assert up is not None
        manager, transport = self.manager, up.transport if isinstance(up, UpstreamTcp) else None
        if manager.loggers and transport is not None and self.record.host is not None:
            local, secured = own_address(cast(Any, transport)), transport.get_extra_info("secured")
            self.record.last_up = Opened(local, self.record.host, secured)
        if manager.meter is not None:
            tls = transport.get_extra_info("secured") if transport is not None else None
            self._metered = manager.meter.begin(self.record, tls, self._idle_since)
        self.start()
        up.start()

    def on_open_failed(self, failure: DialFailure) -> None:
        """Envoy: UF for the failure, and URX when no attempt is left."""
        self.up = None
        self.record.failure = failure.detail
        if self.record.attempt < self.manager.config.max_connect_attempts:
            self._connect()
            return
        cluster = self.record.cluster
        assert cluster is not None
        name = f"{cluster.prefix}upstream_cx_connect_attempts_exceeded"
        cluster.all_stats.counter(name).value += 1
        self.record.flag("UF")
        self._refuse("URX")

    # ------------------------------------------------------------------ from the client

    def on_data(self, data: bytes) -> None:
        self.manager.stats.downstream_cx_rx_bytes_total.value += len(data)
        if self._guarded:
            self.record.bytes_received += len(data)
            self._guard(data)
        elif self.up is not None:  # else the host takes no more: the client need not know yet
            self.record.bytes_received += len(data)
            self.up.write(data)

    def on_eof(self) -> None:
        self._down_eof = True
        if self._guarded:
            self._guard(b"")
        else:
            self._pass_end(self.up)

    # ------------------------------------------------------------------ guards

    def _guard(self, data: bytes) -> None:
        """The first bytes, or that there are none, begin the judgement; all wait for its end."""
        if self._held is not None:
            self._held.append(data)
            return
        self._held = [data]
        guards = self.manager.guards
        assert guards is not None
        self.pause_reading()
        cancel = guards.begin(self.info, self.record.metadata, self._on_judged)
        if self._guarded:
            self._end_guarding = cancel

    def _on_judged(self, why: TurnedAway | None) -> None:
        self._end_guarding = None
        if self.transport is None:
            return
        if why is not None:
            self._turn_away(why)
            return
        self._guarded = False
        held, self._held = self._held or [], None
        if self.up is not None:
            for data in held:
                if data:
                    self.up.write(data)
        self.resume_reading()
        if self._down_eof:
            self._pass_end(self.up)

    def _turn_away(self, why: TurnedAway) -> None:
        record = self.record
        self.info.termination = why.termination
        record.detail = why.detail
        if why.flag:
            record.flag(why.flag)
        self._held = []
        if not why.delay_s:
            self._cut()
            return
        timer = self.manager.call_later(why.delay_s, self._cut)
        self._end_guarding = timer.cancel

    def on_writable(self, writable: bool) -> None:
        """The client does not keep up, or does again."""
        if self.up is None:
            return
        if writable:
            self.up.resume_reading()
        else:
            self.up.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._end_guarding is not None:
            self._end_guarding()
            self._end_guarding = None
        self.info.on_closed()
        self._log()
        up = self.up
        if up is None or not up.is_open:
            self.up = None
            if isinstance(up, HttpTunnel):
                up.abort()
            elif up is not None:
                up.user = None
            self._forget()
        elif exc is not None and not up.buffered:
            up.reset()
        else:
            if up.buffered:
                self._flushing = True
                self.manager.stats.upstream_flush_total.value += 1
                self.manager.stats.upstream_flush_active.value += 1
            up.finish()

    # ------------------------------------------------------------------ from the host

    def on_upstream_data(self, data: bytes) -> None:
        if self.transport is not None:
            self.manager.stats.downstream_cx_tx_bytes_total.value += len(data)
            self.record.bytes_sent += len(data)
            self.write(data)

    def on_upstream_eof(self) -> None:
        self._up_eof = True
        self._pass_end(self)

    def on_upstream_writable(self, writable: bool) -> None:
        """The host does not keep up, or does again."""
        stats = self.manager.stats
        if writable:
            stats.downstream_flow_control_resumed_reading_total.value += 1
            self.resume_reading()
        else:
            stats.downstream_flow_control_paused_reading_total.value += 1
            self.pause_reading()

    def on_upstream_lost(self, error: Exception | None) -> None:
        self.up = None
        if self.transport is None:
            self._forget()
            return
        if error is not None:
            self.record.flag("UR")
        if error is not None and not self._up_eof and not self.buffered:
            self.reset()
        elif self._up_eof and not self._down_eof and self.can_half_close:
            # All it had to say is said. Closing with bytes of the client unread would make the
            # kernel throw that away, so the client's end is waited for a little.
            self._ended = True
            self.resume_reading()
        else:
            self.finish()

    # ------------------------------------------------------------------ the end

    def _pass_end(self, to: TcpEnd | HttpTunnel | None) -> None:
        """One direction is over; with the second the connection is."""
        if to is None or (self._down_eof and self._up_eof):
            self._close()
        elif to.can_half_close:
            to.write_eof()
        else:
            self._ended = True

    def _close(self) -> None:
        """Both sides, once everything is written."""
        self.finish()
        if self.up is not None:
            self.up.finish()

    def _log(self) -> None:
        self.record.ended = monotonic()
        for log in self.manager.loggers:
            log(self.record)
        meter = self.manager.meter
        if meter is not None:
            metered = self._metered or meter.begin(self.record, None, self.record.ended)
            metered.end(self.record)
            self._metered = None

    def _forget(self) -> None:
        """Both sides are gone."""
        self.manager.connections.live.discard(self)
        if self._flushing:
            self.manager.stats.upstream_flush_active.value -= 1

    def sweep(self, now: float) -> None:
        """Once a second: has anything moved, in either direction or out of a buffer?"""
        record, manager, up = self.record, self.manager, self.up
        if manager.meter is not None and self._metered is not None and now >= self._metered.due:
            self._metered.tell(record)
            self._metered.due = now + manager.meter.interval_s
        if now >= self._ends_at:
            record.flag("DT")
            manager.stats.max_downstream_connection_duration.value += 1
            self._cut()
            return
        if up is not None and not up.is_open:
            return
        waiting = up.buffered if up is not None else 0
        mark = (record.bytes_received, record.bytes_sent, self.buffered, waiting)
        idle_s = manager.config.idle_timeout_s
        if mark != self._mark:
            self._mark = mark
            self._idle_since = now
        elif self._ended and now - self._idle_since >= SILENCE_S:
            self._close()
        elif 0 < idle_s < now - self._idle_since:
            manager.stats.idle_timeout.value += 1
            self._cut()
            return
        if manager.drained_at and now >= manager.drained_at:
            self._cut()

    def _cut(self) -> None:
        """Closes both sides with what they have not written."""
        self.abort()
        if self.up is not None:
            self.up.abort()
