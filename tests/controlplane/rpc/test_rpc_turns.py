"""How time is shared, with a clock and turns of a loop that the tests make."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from controlplane.rpc.turns import ALL_S, MESSAGE_S, TURN_S, Client, Turns


class Loop:
    def __init__(self) -> None:
        self.now = 0.0
        self._soon: list[Callable[[], None]] = []

    def soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def turn(self) -> bool:
        """False: there was nothing to do."""
        due, self._soon = self._soon, []
        for callback in due:
            callback()
        return bool(due)


class Call:
    """Takes `cost_s` for each of its messages, and notes that it had a turn."""

    def __init__(self, client: Client, name: str, log: list[str], cost_s: float) -> None:
        self.roomy = False
        self.client, self.name, self.log, self.cost_s = client, name, log, cost_s
        self.messages = 0
        self.connection = Connection()

    def come(self, messages: int = 1) -> None:
        self.messages += messages
        self.go_on()

    def go_on(self) -> None:
        if self.roomy:
            self.roomy = False
            self.log.append(f"{self.name} has room")
        while self.messages:
            if not self.client.has_time():
                self.client.later(self)
                return
            self.messages -= 1
            self.log.append(self.name)
            self.client.spend(self.cost_s)


class Refuses(list[str]):
    def append(self, one: str, /) -> None:
        raise ValueError(one)


class Connection:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def waiters(self) -> Iterable[Call]:
        return self.calls


class Clients:
    def __init__(self) -> None:
        self.loop = Loop()
        self.log: list[str] = []
        self.turns = Turns(self.loop.soon, lambda: self.loop.now, 1000)

    def call(self, client: str, name: str, cost_s: float = TURN_S) -> Call:
        connection = Connection()
        made = Call(self.turns.client(client, connection), name, self.log, cost_s)
        made.connection = connection
        connection.calls.append(made)
        return made

    def turn(self) -> str:
        """What was heard in one."""
        self.log.clear()
        self.loop.turn()
        return " ".join(self.log)


@pytest.fixture
def clients() -> Clients:
    return Clients()


def test_connections_of_one_client_share_its_time(clients: Clients) -> None:
    calls = [clients.call("a", f"a{number}") for number in range(3)]
    other = clients.call("b", "b")
    for call in (*calls, other):
        call.come()
    assert clients.log == ["a0", "b"]
    assert [clients.turn() for _ in range(3)] == ["a1", "a2", ""]


def test_who_waits_comes_before_who_comes(clients: Clients) -> None:
    first, second = clients.call("a", "first"), clients.call("a", "second")
    first.come(2)
    assert clients.turn() == "first"
    first.come(2)
    second.come()
    assert [clients.turn() for _ in range(3)] == ["first", "second", "first"]


def test_what_was_too_much_is_paid_back(clients: Clients) -> None:
    call = clients.call("a", "a", cost_s=3.5 * TURN_S)
    call.come(2)
    assert clients.log == ["a"]
    assert [clients.turn() for _ in range(3)] == ["", "", "a"]


def test_all_clients_together_have_so_much_of_a_turn(clients: Clients) -> None:
    many = [clients.call(str(number), str(number), ALL_S / 4) for number in range(6)]
    for call in many:
        call.come(2)
    assert clients.log == ["0", "1", "2", "3"]
    assert [clients.turn() for _ in range(3)] == ["0 1 2 3", "4 5", "4 5"]
    clients.turn()
    assert not clients.loop.turn()  # nobody waits: nothing is called


def test_a_handler_that_waits_is_charged_a_little(clients: Clients) -> None:
    call = clients.call("a", "a", MESSAGE_S)
    call.come(100)
    assert len(clients.log) == round(TURN_S / MESSAGE_S)


def test_who_does_not_read_is_not_heard(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    call, other = clients.call("a", "a"), clients.call("a", "other")
    call.client.queue(1000)
    call.come()
    assert clients.turn() == ""
    assert not caplog.text
    call.client.queue(1)
    assert "client=a does not read: 1001 bytes" in caplog.text
    clients.turn()
    call.client.queue(1000)
    call.come()
    other.come()
    assert [clients.turn() for _ in range(2)] == ["", ""]
    call.client.queue(-1000)
    assert clients.turn() == ""
    call.client.queue(-1)
    assert clients.turn() == "a has room a"
    assert clients.turn() == "other has room other"


def test_in_a_crowd_those_go_on_who_have_read_all(clients: Clients) -> None:
    call, other = clients.call("a", "a"), clients.call("a", "other")
    client = call.client
    assert not client.holds_up(1000)
    client.queue(1001)
    assert client.holds_up(1) and not client.holds_up(0)
    other.come()
    assert clients.log == ["other"]
    clients.turn()
    client.queue(-500)
    assert client.holds_up(1)
    client.queue(-1)
    assert not client.holds_up(1)
    assert clients.turn() == "a has room other has room"
    client.queue(1501)
    assert client.holds_up(0)


def test_a_turn_that_fails_takes_nobody_out_of_the_line(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = clients.call("a", "bad"), clients.call("a", "good")
    bad.come()
    bad.log = Refuses()
    bad.come()
    good.come()
    assert clients.turn() == "good"
    assert "a turn failed client=a" in caplog.text
    good.come(2)
    assert [clients.turn() for _ in range(2)] == ["good", "good"]


def test_who_is_known_at_last_waits_among_his_own(clients: Clients) -> None:
    """And no longer for strangers of the same address."""
    stranger, known = clients.call("address", "stranger"), clients.call("address", "known")
    stranger.come(9)
    known.come()
    known.client = stranger.client.hand_over(known.connection, "somebody")
    assert clients.turn() == "stranger known has room known"
    stranger.client.queue(3000)
    known.come()
    assert clients.turn() == "known"
    assert clients.turn() == ""
    assert known.client.hand_over(known.connection, "somebody") is known.client


def test_a_client_is_forgotten_with_its_last_connection(clients: Clients) -> None:
    one, two = Connection(), Connection()
    client = clients.turns.client("a", one)
    assert clients.turns.client("a", two) is client
    client.leave(one)
    assert clients.turns.client("a", one) is client
    client.leave(one)
    client.leave(two)
    assert clients.turns.client("a", one) is not client
