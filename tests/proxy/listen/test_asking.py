"""Connections wait for listeners that are asked for by name: of their port, then of their
address."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from protos.types import LDS
from proxy import demand as demands
from proxy.config.model import CidrRange, Listener, SocketAddress
from proxy.connection import ConnectionInfo
from proxy.demand import Demand
from proxy.listen.asking import TIMEOUT_S, Asking, Refusal
from proxy.listen.runtime import ListenerRuntime
from tests.support.filters import Clock


def runtime(host: str, port: int, hands_on: bool = False) -> ListenerRuntime:
    name = "virtualOutbound" if hands_on else f"{host}_{port}"
    address = SocketAddress(host, port)
    return ListenerRuntime(Listener(name, address, use_original_dst=hands_on, asks=True), [])


OUTBOUND = runtime("0.0.0.0", 15001, hands_on=True)
PORT = runtime("0.0.0.0", 3306)


class Scene:
    """went_on: destinations of connections that have waited, and why they are refused."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.demand = Demand(self.clock.call_later, lambda: self.clock.now)
        self.asking = Asking(self.demand, self._go_on)
        self.went_on: list[tuple[str, Refusal | None]] = []
        self.socks: list[socket.socket] = []

    def _go_on(self, sock: socket.socket, info: ConnectionInfo, refusal: Refusal | None) -> None:
        assert sock in self.socks
        self.went_on.append((info.local[0], refusal))

    def comes(self, to: ListenerRuntime, host: str, port: int = 3306) -> bool:
        self.socks.append(socket.socket())
        info = ConnectionInfo(("10.1.0.9", 4000), (host, port), ("127.0.0.1", 15001))
        return self.asking.waits(to, self.socks[-1], info)

    def settle(self, **answers: bool) -> None:
        self.demand.settle({}, {(LDS, name): one for name, one in answers.items()})
        self.clock.advance(0.0)

    @property
    def asked(self) -> list[str]:
        return [name for _, name in self.demand.names]

    def close(self) -> None:
        for sock in self.socks:
            sock.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


def test_a_port_is_asked_for_once(scene: Scene) -> None:
    assert scene.comes(OUTBOUND, "10.96.0.3")
    assert scene.comes(OUTBOUND, "10.96.0.4")
    assert (scene.asked, scene.went_on) == (["0.0.0.0_3306"], [])
    scene.settle(**{"0.0.0.0_3306": True})
    assert scene.went_on == [("10.96.0.3", None), ("10.96.0.4", None)]
    assert not scene.comes(OUTBOUND, "10.96.0.3")


def test_at_a_port_each_address_is_asked_for(scene: Scene) -> None:
    assert scene.comes(PORT, "10.96.0.3")
    assert scene.comes(PORT, "fd00::1")
    assert scene.asked == ["10.96.0.3_3306", "fd00::1_3306"]
    scene.settle(**{"10.96.0.3_3306": False, "fd00::1_3306": True})
    assert scene.went_on == [("10.96.0.3", None), ("fd00::1", None)]


def test_addresses_where_the_mesh_has_none_are_not_asked_for(scene: Scene) -> None:
    ranges = (CidrRange("10.96.0.0", 16), CidrRange("fd00::", 64))
    config = Listener("0.0.0.0_3306", SocketAddress("0.0.0.0", 3306), asks=True, asks_within=ranges)
    port = ListenerRuntime(config, [])
    for outside in ("203.0.113.7", "10.97.0.1", "fd01::1"):
        assert not scene.comes(port, outside)
    assert scene.asked == []
    assert scene.comes(port, "10.96.255.1")
    assert scene.comes(port, "fd00::1")
    assert scene.asked == ["10.96.255.1_3306", "fd00::1_3306"]


def test_who_has_come_to_its_own_listener_waits_for_nothing(scene: Scene) -> None:
    assert not scene.comes(PORT, "0.0.0.0")
    assert not scene.comes(OUTBOUND, "127.0.0.1", 15001)
    assert scene.asked == []


def test_without_an_answer_it_ends(scene: Scene) -> None:
    assert scene.comes(OUTBOUND, "10.96.0.3")
    scene.clock.advance(TIMEOUT_S + 0.1)
    scene.clock.advance(0.0)
    assert scene.went_on == [("10.96.0.3", "late")]


def test_too_many_are_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(demands, "MAX_OF_ONE_SOURCE", 1)
    assert scene.comes(OUTBOUND, "10.96.0.3")
    assert scene.comes(OUTBOUND, "10.96.0.4")
    assert scene.went_on == [("10.96.0.4", "full")]
    assert "too many connections wait" in caplog.text


def test_one_that_is_there_and_cannot_be_in_force_leaves_its_connections_to_nobody(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    name = "10.96.0.3_3306"
    answers = {(LDS, name): True, (LDS, "10.96.0.4_3306"): False}
    scene.demand.settle({}, answers, {(LDS, name): "listener 10.96.0.3_3306: no such secret"})
    assert scene.comes(PORT, "10.96.0.3")
    assert scene.went_on == [("10.96.0.3", "unusable")]
    assert "0.0.0.0_3306: 10.1.0.9:4000 to 10.96.0.3:3306: refused: listener" in caplog.text
    assert "no such secret" in caplog.text
    assert not scene.comes(PORT, "10.96.0.4")
    scene.settle(**{name: True})
    assert not scene.comes(PORT, "10.96.0.3")


def test_a_closed_socket_leaves_nobody_behind(scene: Scene) -> None:
    assert scene.comes(OUTBOUND, "10.96.0.3")
    scene.asking.close()
    assert scene.socks[0].fileno() == -1
    scene.settle(**{"0.0.0.0_3306": True})
    assert scene.went_on == []
