"""Connections to a listener that is there and can't be put in force are refused, and it is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from protos.types import LDS
from proxy.config import model
from proxy.config.snapshot import Snapshot
from proxy.connection import ConnectionInfo
from proxy.demand import Demand
from proxy.l4.record import ConnectionRecord
from proxy.listen.accept import Acceptor
from proxy.listen.accepted import Accepted
from proxy.listen.counters import InspectorCounters, ListenerCounters
from proxy.listen.listeners import Listeners
from proxy.listen.runtime import ListenerRuntime
from proxy.main import Proxy, ProxyOptions
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from tests.support.filters import Clock
from tests.support.wait import eventually_async

ANY = model.SocketAddress("0.0.0.0", 15001)
NAME = "10.96.0.3_80"


class Redirected(Accepted):
    """Is not where its connections were going: what they came to is theirs (TPROXY)."""

    def getsockname(self) -> tuple[str, int]:
        return ("0.0.0.0", 15001)

    @property
    def port(self) -> int:
        found: int = super().getsockname()[1]
        return found


class Chain:
    """Nobody may come here."""

    match = model.FilterChainMatch()
    tls = None
    handshake_timeout_s = None
    close_notify_wait_s = 1.0

    def connect(self, info: ConnectionInfo) -> asyncio.BaseProtocol:
        raise AssertionError(f"{info.local} is served")


@pytest.fixture
def listening() -> Iterator[Redirected]:
    with Redirected(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        yield sock


async def test_its_connections_are_closed_counted_and_logged(listening: Redirected) -> None:
    clock, stats = Clock(), Stats()
    lines: list[ConnectionRecord] = []
    demand = Demand(clock.call_later, lambda: clock.now)
    key = (LDS, f"127.0.0.1_{listening.port}")
    demand.settle({}, {key: True}, {key: "bad"})
    config = model.Listener(
        "0.0.0.0_80", ANY, original_dst=True, transparent=True, asks=True, stat_prefix="x"
    )
    runtime = ListenerRuntime(config, (Chain(),), loggers=(lines.append,))
    acceptor = Acceptor(
        *(asyncio.get_running_loop(), listening, runtime, ListenerCounters(stats, "x")),
        *(InspectorCounters(stats), lambda _: None, RuntimeValues()),
        demand=demand,
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        assert await reader.read() == b""
        writer.close()
        counter = stats.counters["listener.x.on_demand_listener_unusable"]
        await eventually_async(lambda: lines, what="a line in the access log")
        (line,) = lines
        told = (line.flags, line.detail)
        assert (counter.value, told) == (1, ("NR", "on_demand_listener_unusable"))
        assert stats.gauges["listener.x.downstream_cx_active"].value == 0
    finally:
        acceptor.close()


async def test_what_cannot_be_put_in_force_is_told(tmp_path: Path) -> None:
    """By what the control plane has sent: refused, or accepted and then no good."""
    proxy = Proxy(model.Bootstrap(), ProxyOptions(tmp_path / "none.yaml"))
    proxy.checked = True
    loop = asyncio.get_running_loop()
    proxy.listeners = Listeners(loop, proxy.stats, proxy.worker.runtime, proxy.demand)
    chain = model.FilterChain(model.FilterChainMatch(), tcp=model.TcpProxy("x", cluster="x"))
    nowhere = (model.AccessLog(str(tmp_path / "no" / "folder")),)
    address = model.SocketAddress("10.96.0.3", 80)
    good = model.Listener(NAME, address, filter_chains=(chain,), bind_to_port=False)
    bad = model.Listener(NAME, address, filter_chains=(chain,), access_log=nowhere)
    refused = {(LDS, "0.0.0.0_81"): "why"}
    answers = {(LDS, NAME): True, (LDS, "0.0.0.0_81"): True}
    proxy._apply(Snapshot({NAME: good}, answers=answers, refused=refused))
    assert proxy.demand.unusable == refused
    proxy._apply(Snapshot(answers={}))
    assert proxy.demand.unusable == {}
    proxy._apply(Snapshot({NAME: bad}, answers=answers))
    assert list(proxy.demand.unusable) == [(LDS, NAME)]
    assert "no/folder" in proxy.demand.unusable[(LDS, NAME)]
    proxy.runtime.close()
