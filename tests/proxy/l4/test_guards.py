"""Guards of TCP and HTTP connections without sockets: who waits, and what becomes of the bytes."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.l4.guard import Cancel, Guards, Told, TurnedAway, Visitor
from proxy.l4.manager import TcpManager
from tests.support.tcp_play import TcpPeer, TcpPlay


class Patient:
    """A guard whose word comes when the test says so."""

    def __init__(self, at_once: TurnedAway | str | None = "") -> None:
        self.at_once = at_once
        self.told: list[Told] = []
        self.cancelled = 0

    def judge(self, visitor: Visitor, told: Told) -> Cancel | None:
        if not isinstance(self.at_once, str):
            told(self.at_once)
            return None
        self.told.append(told)
        return self._cancel

    def _cancel(self) -> None:
        self.cancelled += 1


def guarded(play: TcpPlay, *guards: Any) -> tuple[TcpPeer, TcpPeer]:
    """A client of a chain with these guards, and its server."""
    manager = play.runtime.listeners["in"].chains[0].manager
    assert isinstance(manager, TcpManager)
    manager.guards = Guards(guards)
    return play.client(), play.accept()


def test_the_server_may_speak_before_anybody_is_judged() -> None:
    with TcpPlay() as play:
        client, up = guarded(play, guard := Patient())
        up.say(b"220 ready")
        assert client.take() == b"220 ready" and not guard.told


def test_the_first_bytes_wait_for_the_word_and_then_go_on() -> None:
    with TcpPlay() as play:
        client, up = guarded(play, guard := Patient())
        client.end.data_received(b"first ")
        client.end.data_received(b"second")  # read before the loop heard of the pause
        assert up.take() == b"" and not client.transport.reading and len(guard.told) == 1
        guard.told[0](None)
        assert up.take() == b"first second" and client.transport.reading
        client.say(b" third")
        assert up.take() == b" third" and len(guard.told) == 1


def test_an_end_without_a_word_is_judged_too() -> None:
    with TcpPlay() as play:
        client, up = guarded(play, guard := Patient())
        client.end_half()
        assert len(guard.told) == 1 and up.state == "open"
        guard.told[0](None)
        assert up.state == "half"


def test_who_is_turned_away_is_closed_and_logged() -> None:
    why = TurnedAway("UAEX", "ext_authz_denied", "because")
    with TcpPlay() as play:
        client, up = guarded(play, Patient(why))
        client.say(b"secret")
        assert up.take() == b"" and client.state == "aborted"
    (record,) = play.records
    assert (record.flags, record.detail, record.down.info.termination) == (
        "UAEX", "ext_authz_denied", "because"
    )  # fmt: skip
    assert record.bytes_received == 6


def test_all_guards_are_asked_until_one_turns_away() -> None:
    with TcpPlay() as play:
        first, second, third = Patient(None), Patient(), Patient(None)
        client, up = guarded(play, first, second, third)
        client.say(b"hello")
        assert up.take() == b"" and len(second.told) == 1
        second.told[0](TurnedAway())
        assert client.state == "aborted" and up.take() == b""


def test_nobody_is_asked_for_a_client_that_has_left() -> None:
    with TcpPlay() as play:
        client, up = guarded(play, guard := Patient())
        client.say(b"hello")
        client.break_off()
        assert guard.cancelled == 1
        guard.told[0](None)
        assert up.take() == b""


@pytest.mark.parametrize("leaves", [False, True])
def test_a_denial_may_be_told_late(leaves: bool) -> None:
    with TcpPlay() as play:
        client, up = guarded(play, Patient(TurnedAway(delay_s=2.0)))
        client.say(b"hello")
        play.tick(1.9)
        assert client.state == "open" and up.take() == b""
        if leaves:
            client.break_off()
        play.tick(0.2)
        assert client.state == ("closed" if leaves else "aborted")
        assert len(play.records) == 1
